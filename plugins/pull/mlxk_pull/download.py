"""The child that downloads: huggingface_hub's own download, told to report instead of drawing bars.

It is a process of its own because a download cannot be stopped from inside: at Ctrl-C huggingface_hub first finishes
the files in flight (minutes, for large ones), and killed it leaves parts that no later run goes on with.
"""

from __future__ import annotations

import errno
import glob
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import tqdm

from mlxk_core.errors import HubUnavailable, MlxkError
from mlxk_core.hub.client import MAIN
from mlxk_core.hub.refusals import Asked, hub_error, refuse
from mlxk_core.worker import Job, Report, as_report, serve

_TRIES = 4
_BIG = 1 << 20
_COUNTED = {"huggingface_hub.snapshot_download", "huggingface_hub.http_get", "huggingface_hub.xet_get"}
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
        report({"error": as_report(_told(error, asked))})
    else:
        report({"done": True})


def _download(job: Job, report: Report) -> None:
    tally = _Tally(report)
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


def _told(error: Exception, asked: Asked) -> Exception:
    try:
        refuse(error, asked)
    except MlxkError as refusal:
        return refusal
    except Exception:
        return _our_own(error)


def _our_own(error: Exception) -> Exception:
    if _is_wrong_length(error):
        return HubUnavailable("The hub sent a file of another length than it promised.", reason="wrong_length")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MlxkError("The disk is full.", reason="disk_full")
    if isinstance(error, OSError) and error.filename:
        return MlxkError(f"{error.filename} cannot be written: {error.strerror}.", reason="not_writable")
    return error


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

    def restart(self, here: int) -> None:
        with self._lock:
            self._bytes, self._told = here, 0.0

    def add(self, count: float | None) -> None:
        with self._lock:
            self._bytes += int(count or 0)
            now = time.monotonic()
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
    return [sys.executable, "-P", "-m", "mlxk_pull.leftovers", job["folder"], job["locks"], job["commit"]]


if __name__ == "__main__":
    serve(work, orphaned=orphaned)
