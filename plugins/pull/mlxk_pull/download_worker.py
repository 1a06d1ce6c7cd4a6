"""The child that downloads: huggingface_hub's own download, told to report instead of drawing bars.

It is a process of its own because a download cannot be stopped from inside: at Ctrl-C huggingface_hub first finishes
the files in flight (minutes, for large ones), and killed it leaves parts that no later run goes on with.
"""

from __future__ import annotations

import errno
import glob
import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2
from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import tqdm

from mlxk_core.api.errors import HubUnavailable, MlxkError, RevisionNotFound
from mlxk_hub.client import MAIN
from mlxk_hub.errors import Asked, NotOnHub, hub_error, refuse
from mlxk_hub.subprocess_job import Job, Report, as_report, serve

_TRIES = 4
_BIG = 1 << 20
_SILENCE = 15.0  # seconds without a byte that are told; hf_xet alone waits for minutes before it gives up
_COUNTED = {"huggingface_hub.snapshot_download", "huggingface_hub.http_get", "huggingface_hub.xet_get"}
# What a disk refuses, by the operating system's number for it; the words have a place for the cache's folder.
_DISK = {
    errno.ENOSPC: ("disk_full", "The disk of {} is full."),
    errno.EDQUOT: ("quota", "Your quota on the disk of {} is used up."),
    errno.EFBIG: (
        "file_too_large",
        "The disk of {} takes no file as large as this (FAT32 ends at 4 GB; `ulimit -f` may set a limit too).",
    ),
    errno.EROFS: ("read_only", "The disk of {} is read-only."),
}
_SIGNATURE = re.compile(r"\?[^\s)]*")  # of an address: who has it may read the file
# What huggingface_hub logs while it helps itself; its own lines quote signed addresses.
_TOLD = {
    "Trying to resume": "The connection broke; going on from where it was.",
    "Rate limited": "The hub asks to wait a moment.",
    "Retrying in": "The hub has trouble; asking again.",
}


def work(job: Job, report: Report) -> None:
    _tell_warnings(report)
    asked = Asked(job["repository"], job["revision"] or MAIN, constants.ENDPOINT)
    try:
        _download(job, report)
    except Exception as error:
        report({"error": as_report(_told(error, asked, job))})
    else:
        report({"done": True})


def _download(job: Job, report: Report) -> None:
    tally = _Tally(report)
    threading.Thread(target=tally.tell_silence, daemon=True).start()
    for attempt in range(1, _TRIES + 1):
        tally.restart(_bytes_here(job))
        try:
            _once(job, _bar_class(tally))
            return
        except Exception as error:
            if attempt == _TRIES or not _worth_another_try(error):
                raise
        report({"note": "The connection broke; the file it was in starts again."})
        time.sleep(min(0.5 * 2**attempt, 8.0))


def _once(job: Job, bars: type[tqdm]) -> None:
    common: dict[str, Any] = {"cache_dir": job["cache"], "revision": job["commit"], "tqdm_class": bars}
    snapshot = Path(job["snapshot"])
    for name in list(job["again"]):
        # A broken file in the place of a link would stay there: huggingface_hub links what is missing only.
        (snapshot / name).unlink(missing_ok=True)
        hf_hub_download(job["repository"], name, force_download=True, **common)
        del job["again"][name]
    patterns = [glob.escape(name) for name in job["files"]]
    snapshot_download(job["repository"], allow_patterns=patterns, **common)


def _worth_another_try(error: Exception) -> bool:
    """What huggingface_hub gives up on at once, although the next try may well get through.

    The rest it has tried again itself, with all the patience there is.
    """
    cause = hub_error(error)
    if cause is None:
        return _is_wrong_length(error)
    if isinstance(cause, HfHubHTTPError):
        response = cause.response
        signed_address_expired = response.status_code in (401, 403) and _host(response.url) != _host(constants.ENDPOINT)
        return signed_address_expired or (response.status_code >= 500 and response.request.method == "GET")
    return isinstance(cause, httpx2.NetworkError) and not isinstance(cause, httpx2.ConnectError)


def _host(url: object) -> str:
    return urlsplit(str(url)).netloc


def _is_wrong_length(error: Exception) -> bool:
    return isinstance(error, OSError) and "Consistency check failed" in str(error)


def _told(error: Exception, asked: Asked, job: Job) -> Exception:
    try:
        refuse(error, asked)
    except MlxkError as refusal:
        return _of_a_file(refusal, error, asked, job)
    except Exception:
        return _our_own(error, Path(job["cache"]))


def _of_a_file(refusal: MlxkError, error: Exception, asked: Asked, job: Job) -> MlxkError:
    """A refusal of one file: the repository, the revision and the access to both were seen by the preflight."""
    cause = hub_error(error)
    if not isinstance(cause, HfHubHTTPError):
        return refusal
    file = _file_at(str(cause.response.url), job["files"])
    details = {**refusal.details, "file": file}
    if isinstance(refusal, NotOnHub | RevisionNotFound):
        details["reason"] = "file_not_there"
        return HubUnavailable(
            f"{asked.endpoint} lists {file or 'a file'} in `{asked.repository}`, and does not give it "
            f"({cause.response.status_code}). Try again later, or see {asked.page}.",
            **details,
        )
    if file:
        refusal.args = (f"{file}: {refusal}",)
    refusal.details = details
    return refusal


def _file_at(url: str, files: Iterable[str]) -> str | None:
    """The file that an address gives, if that can be told: signed ones of the hub name it at the end of the path, or
    of a header to be answered with."""
    found = [name for name in files if re.search(rf"[/'\"]{re.escape(name)}($|[?;'\"])", unquote(url))]
    return max(found, key=len, default=None)


def _our_own(error: Exception, cache: Path) -> Exception:
    if _is_wrong_length(error):
        return HubUnavailable("The hub sent a file of another length than it promised.", reason="wrong_length")
    code = _code_of(error)
    if code in _DISK:
        reason, told = _DISK[code]
        return MlxkError(f"{told.format(cache)} HF_HOME names another place for the cache.", reason=reason)
    if isinstance(error, OSError) and (code or error.filename):
        return MlxkError(f"{error.filename or cache} cannot be written: {error.strerror}.", reason="not_writable")
    if _is_of_xet(error):
        return HubUnavailable(
            "The hub's Xet storage, where large files come from, cannot be reached or has trouble. Check the network "
            "(a firewall or proxy that knows the hub alone?), or try HF_HUB_DISABLE_XET=1, which takes another way.",
            reason="xet",
            said=_SIGNATURE.sub("?...", " ".join(str(error).split()))[:500],
        )
    return error


def _code_of(error: Exception) -> int | None:
    """The operating system's number for what went wrong, which Rust (hf_xet) only tells in words."""
    if isinstance(error, OSError):
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error)) if _is_of_xet(error) else None
    return int(told[1]) if told else None


def _is_of_xet(error: Exception) -> bool:
    """hf_xet raises nothing more telling than RuntimeError, so it is known by where it was raised."""
    frames = traceback.walk_tb(error.__traceback__)
    return isinstance(error, RuntimeError) and any(frame.f_code.co_name == "xet_get" for frame, _ in frames)


def _bytes_here(job: Job) -> int:
    """Bytes of this job's blobs that are whole and not to be had anew."""
    here = 0
    again = set(job["again"].values())
    for digest, size in job["blobs"].items():
        if digest in again:
            continue
        with suppress(OSError):
            if (Path(job["folder"]) / "blobs" / digest).stat().st_size == size:
                here += size
    return here


class _Tally:
    """Bytes that have arrived, from all threads, told a few times a second; a big step is always told, since nothing
    may follow it for a while."""

    def __init__(self, report: Report) -> None:
        self._report, self._lock = report, threading.Lock()
        self._bytes, self._told = 0, 0.0
        self._heard = time.monotonic()

    def tell_silence(self) -> None:
        """Says once in every silence that there is one."""
        told = 0.0
        while True:
            time.sleep(1.0)
            heard = self._heard
            if heard != told and time.monotonic() - heard > _SILENCE:
                told = heard
                self._report({"note": f"Nothing has come for {_SILENCE:.0f} s; still waiting (Ctrl-C stops)."})

    def restart(self, here: int) -> None:
        with self._lock:
            self._bytes, self._told = here, 0.0

    def add(self, count: float | None) -> None:
        with self._lock:
            self._bytes += int(count or 0)
            self._heard = now = time.monotonic()
            if now - self._told < 0.1 and (count or 0) < _BIG:
                return
            self._told, done = now, self._bytes
        self._report({"bytes": done})


def _bar_class(tally: _Tally) -> type[tqdm]:
    class Counter(tqdm):
        """Takes the place of huggingface_hub's bars: the one that counts bytes on disk is told, none is drawn."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self._add: Callable[[float | None], None] | None = tally.add if options.get("name") in _COUNTED else None
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if self._add:
                self._add(n)

    return Counter


def _tell_warnings(report: Report) -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            for words, note in _TOLD.items():
                if words in text:
                    report({"note": note})

    logger = logging.getLogger("huggingface_hub")
    logger.handlers[:] = [Handler()]
    logger.propagate = False


def orphaned(job: Job) -> list[str]:
    """The command this process turns into when its parent has gone."""
    return [sys.executable, "-P", "-m", "mlxk_pull.cleanup", job["folder"], job["locks"], job["commit"]]


if __name__ == "__main__":
    serve(work, orphaned=orphaned)
