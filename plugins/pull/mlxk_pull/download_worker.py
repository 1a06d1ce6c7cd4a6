"""The process that downloads the files of a model.

Large files are downloaded by `resumable`; the small ones, and the links of the snapshot, by huggingface_hub. It is a
process of its own because huggingface_hub finishes the files in flight before it reacts to Ctrl-C.
"""

from __future__ import annotations

import glob
import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2
import msgspec
from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import are_symlinks_supported
from huggingface_hub.utils import WeakFileLock, tqdm

from mlxk_core.api.errors import HubUnavailable, MlxkError, RevisionNotFound
from mlxk_hub.errors import HubRequest, NotOnHub, hub_error, translate
from mlxk_hub.retry import RetryPolicy, delay_after
from mlxk_hub.subprocess_job import serve_job
from mlxk_pull import resumable
from mlxk_pull.cleanup import despite_cleanups
from mlxk_pull.disk_errors import disk_error, write_error
from mlxk_pull.hub_session import use_checked_session
from mlxk_pull.local_state import partial_path
from mlxk_pull.messages import Downloaded, DownloadJob, JobFile, Note
from mlxk_pull.resumable import WrongContent

Report = Callable[[msgspec.Struct], None]

_TRIES = 6
_MAX_WAIT = 60.0
_MAX_BACKOFF = 8.0
_AT_ONCE = 4  # large files
_REPORT_EVERY = 0.1  # seconds
_SILENCE = 15.0  # seconds without a byte before a note
_MORE_THAN_LISTED = 32 << 20  # bytes: the tries of huggingface_hub add up
_COUNTED = {"huggingface_hub.snapshot_download", "huggingface_hub.http_get", "huggingface_hub.xet_get"}
_SIGNATURE = re.compile(r"\?[^\s)]*")  # of a signed address; whoever has it may read the file
# huggingface_hub logs what it retries; its own lines quote signed addresses.
_NOTES = {
    "Trying to resume": "Connection lost, resuming.",
    "Rate limited": "Rate-limited by the hub, waiting.",
    "Retrying in": "The hub has a problem, retrying.",
}


def work(job: DownloadJob, report: Report) -> None:
    _report_warnings(report)
    use_checked_session()
    counter = _ByteCounter(report)
    threading.Thread(target=counter.report_silence, daemon=True).start()
    policy = RetryPolicy(tries=_TRIES, max_wait=_MAX_WAIT, on_wait=lambda text: report(Note(text)))
    try:
        _Download(job, counter, policy).run()
    except Exception as error:
        raise _as_mlxk_error(error, job) from error


class _Download:
    def __init__(self, job: DownloadJob, counter: _ByteCounter, policy: RetryPolicy) -> None:
        self._job, self._counter, self._policy = job, counter, policy
        self._blobs = Path(job.folder) / "blobs"
        self._snapshot = Path(job.folder) / "snapshots" / job.commit
        self._redone: set[str] = set()
        self._options: dict[str, Any] = {
            "cache_dir": job.cache,
            "revision": job.commit,
            "tqdm_class": _bar_class(counter),
        }

    def run(self) -> None:
        for file in self._job.files:
            if file.redo:
                # huggingface_hub creates missing links only; a damaged file in the place of one would stay.
                (self._snapshot / file.name).unlink(missing_ok=True)
        small = [file for file in self._job.files if not file.large or _needs_xet(file)]
        large = {file.digest: file for file in self._job.files if file.large and not _needs_xet(file)}
        for file in large.values():
            self._counter.set(file.digest, self._bytes_on_disk(file))
        # The small files first: an interrupted download then has the config and the tokenizer.
        self._policy.call(lambda: despite_cleanups(lambda: self._with_huggingface_hub(small)), delay=_delay)
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            for future in as_completed([pool.submit(self._download_large, file) for file in large.values()]):
                future.result()
        finally:
            # After an error the others are not awaited: they end with the process, and a later pull resumes them.
            pool.shutdown(wait=False, cancel_futures=True)
        self._policy.call(lambda: despite_cleanups(self._link), delay=_delay)
        self._counter.report_now()

    def _download_large(self, file: JobFile) -> None:
        """Download a large file, unless it is complete."""
        partial = partial_path(self._blobs, file.digest)
        reached = 0

        def progress() -> int:
            nonlocal reached
            reached = max(reached, _size(partial) or 0)
            return reached

        def attempt() -> None:
            resumable.download(
                self._job.repository,
                self._job.commit,
                file.name,
                size=file.size,
                sha256=file.digest,
                partial=partial,
                on_bytes=lambda done: self._counter.set(file.digest, done),
            )

        lock = Path(self._job.locks) / f"{file.digest}.lock"
        # The lock of huggingface_hub, so that downloads by other programs are waited for.
        with _hold(lock):
            if self._is_complete(file):
                self._counter.set(file.digest, file.size)
                return
            self._policy.call(attempt, delay=_delay, progress=progress)
            # A link into the store that repositories share is replaced by a file of this repository.
            destination = self._destination(file)
            destination.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another process was faster, where locks do not work
                partial.replace(destination)
            self._redone.add(file.digest)

    def _with_huggingface_hub(self, files: Sequence[JobFile]) -> None:
        unique = {file.digest: file for file in files}.values()
        listed = sum({file.digest: file.size for file in self._job.files}.values())
        self._counter.set_small(sum(self._bytes_on_disk(file) for file in unique), most=listed + _MORE_THAN_LISTED)
        for file in unique:
            if file.redo and file.digest not in self._redone:
                hf_hub_download(self._job.repository, file.name, force_download=True, **self._options)
                self._redone.add(file.digest)
        if patterns := [glob.escape(file.name) for file in files]:
            snapshot_download(self._job.repository, allow_patterns=patterns, **self._options)

    def _link(self) -> None:
        """Create the links of the snapshot that are missing."""
        patterns = [glob.escape(file.name) for file in self._job.files]
        snapshot_download(self._job.repository, allow_patterns=patterns, **self._options)

    def _destination(self, file: JobFile) -> Path:
        """Return where the content belongs: in the blobs, or in the snapshot where the disk has no links."""
        if are_symlinks_supported(self._job.cache):
            return self._blobs / file.digest
        return self._snapshot / file.name

    def _is_complete(self, file: JobFile) -> bool:
        if file.redo and file.digest not in self._redone:
            return False
        return file.size in (_size(self._blobs / file.digest), _size(self._snapshot / file.name))

    def _bytes_on_disk(self, file: JobFile) -> int:
        if self._is_complete(file):
            return file.size
        return _size(partial_path(self._blobs, file.digest)) or 0


def _needs_xet(file: JobFile) -> bool:
    """Return whether huggingface_hub's Xet client downloads the file: without resuming, but in parallel.

    HF_XET_HIGH_PERFORMANCE asks for it, and the hub serves nothing above 50 GB over HTTP.
    """
    enabled = not constants.HF_HUB_DISABLE_XET
    return enabled and (constants.HF_XET_HIGH_PERFORMANCE or file.size > constants.MAX_HTTP_DOWNLOAD_SIZE)


def _delay(error: Exception, attempt: int) -> float | None:
    """Return the seconds to wait before the next attempt, None for an error that will not pass."""
    backoff = min(0.5 * 2 ** (attempt - 1), _MAX_BACKOFF)
    cause = hub_error(error)
    if cause is None:
        wrong = isinstance(error, WrongContent) or "Consistency check failed" in str(error)
        return 0.0 if wrong and attempt < 3 else None
    if isinstance(cause, HfHubHTTPError):
        response = cause.response
        signed_address_expired = response.status_code in (401, 403) and _host(response.url) != _host(constants.ENDPOINT)
        return backoff if signed_address_expired else delay_after(cause, attempt)
    return (
        backoff
        if isinstance(cause, (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.TimeoutException))
        else None
    )


def _host(url: object) -> str:
    return urlsplit(str(url)).netloc


def _as_mlxk_error(error: Exception, job: DownloadJob) -> Exception:
    """Return mlxk's error for `error`; unchanged if there is none."""
    cache = Path(job.cache)
    if full := disk_error(error, cache):  # first: a full disk also breaks connections
        return full
    request = HubRequest(job.repository, job.revision, constants.ENDPOINT)
    translated = translate(error, request)
    if isinstance(translated, MlxkError) and translated is not error:
        return _about_file(translated, error, request, job)
    if "Consistency check failed" in str(error):
        return HubUnavailable("The hub sent a file of another length than it listed.", reason="wrong_length")
    if isinstance(error, OSError) and (error.errno or error.filename):
        return write_error(error, cache)
    if _is_from_xet(error):
        return HubUnavailable(
            "Cannot download from the hub's Xet storage. Check the network (a firewall or proxy that allows the hub "
            "only?), or unset HF_XET_HIGH_PERFORMANCE.",
            reason="xet",
            xet_error=_SIGNATURE.sub("?...", " ".join(str(error).split()))[:500],
        )
    return error


def _about_file(translated: MlxkError, error: Exception, request: HubRequest, job: DownloadJob) -> MlxkError:
    """Return the error with the file it is about: access to the repository and its revision were checked before."""
    cause = hub_error(error)
    if not isinstance(cause, HfHubHTTPError):
        return translated
    file = _file_at(str(cause.response.url), [file.name for file in job.files])
    details = {**translated.details, "file": file}
    if isinstance(translated, NotOnHub | RevisionNotFound):
        details["reason"] = "file_not_there"
        return HubUnavailable(
            f"{request.endpoint} lists {file or 'a file'} of `{request.repository}` but does not serve it "
            f"({cause.response.status_code}). Try again later, or see {request.page}.",
            **details,
        )
    return type(translated)(f"{file}: {translated}" if file else str(translated), **details)


def _file_at(url: str, files: Iterable[str]) -> str | None:
    """Return the file at an address: signed ones name it at the end of the path, or in a header's value."""
    found = [name for name in files if re.search(rf"[/'\"]{re.escape(name)}($|[?;'\"])", unquote(url))]
    return max(found, key=len, default=None)


def _is_from_xet(error: Exception) -> bool:
    """Return whether hf_xet raised `error`: it raises RuntimeError only, so the traceback tells."""
    frames = traceback.walk_tb(error.__traceback__)
    return isinstance(error, RuntimeError) and any(frame.f_code.co_name == "xet_get" for frame, _ in frames)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


class _ByteCounter:
    """Bytes that are on the disk, counted from all threads and reported at most every 100 ms.

    Large files set their own count; huggingface_hub's bars only add.
    """

    def __init__(self, report: Report) -> None:
        self._report, self._lock = report, threading.Lock()
        self._of_file: dict[str, int] = {}
        self._added, self._most_added = 0, 0
        self._reported = self._changed = time.monotonic()

    def set(self, digest: str, done: int) -> None:
        with self._lock:
            self._of_file[digest] = done
        self._tick()

    def add(self, count: float | None) -> None:
        """Count bytes of huggingface_hub. Raises `HubUnavailable` beyond the limit: its own checks are at the end."""
        with self._lock:
            self._added += int(count or 0)
            too_many = self._added > self._most_added
        if too_many:
            raise HubUnavailable("The hub sends more bytes than it listed.", reason="wrong_length")
        self._tick()

    def set_small(self, done: int, *, most: int) -> None:
        """Count huggingface_hub's bytes from `done` on, up to `most`."""
        with self._lock:
            self._added, self._most_added = done, most
        self._tick()

    def report_now(self) -> None:
        with self._lock:
            done = sum(self._of_file.values()) + self._added
        self._report(Downloaded(done))

    def report_silence(self) -> None:
        """Report each silence once."""
        noted = 0.0
        while True:
            time.sleep(1.0)
            changed = self._changed
            if changed != noted and time.monotonic() - changed > _SILENCE:
                noted = changed
                self._report(Note(f"No data for {_SILENCE:.0f} s, still waiting (Ctrl-C to stop)."))

    def _tick(self) -> None:
        with self._lock:
            self._changed = now = time.monotonic()
            if now - self._reported < _REPORT_EVERY:
                return
            self._reported = now
        self.report_now()


def _bar_class(counter: _ByteCounter) -> type[tqdm]:
    class CountingBar(tqdm):
        """Replaces huggingface_hub's bars: draws nothing, and counts the bytes written to the disk."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self._add: Callable[[float | None], None] | None = counter.add if options.get("name") in _COUNTED else None
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if self._add:
                self._add(n)

    return CountingBar


def _report_warnings(report: Report) -> None:
    class NoteHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            for words, note in _NOTES.items():
                if words in text:
                    report(Note(note))

    logger = logging.getLogger("huggingface_hub")
    logger.handlers[:] = [NoteHandler()]
    logger.propagate = False


def _clean_up_command(job: DownloadJob) -> list[str]:
    return [sys.executable, "-P", "-m", "mlxk_pull.cleanup", job.folder, job.locks, job.commit]


@contextmanager
def _hold(lock: Path) -> Iterator[None]:
    with ExitStack() as stack:
        despite_cleanups(lambda: stack.enter_context(_in_new_folder(lock)))
        yield


def _in_new_folder(lock: Path) -> AbstractContextManager[object]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    return WeakFileLock(lock)


if __name__ == "__main__":
    serve_job(DownloadJob, work, orphan_command=_clean_up_command)
