"""One `mlxk pull` in a process of its own: its progress, and its error."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO

import msgspec
from msgspec import Struct

from mlxk_core.api.errors import Kind, MlxkError
from mlxk_protocol.decoders import decoder_of

_GRACE = 20.0
"""Seconds that an interrupted pull has to save what it downloaded."""
_LONGEST_LINE = 64 << 10
_LARGEST_DOCUMENT = 16 << 20
"""Bytes of the result that are kept. The files of a repository are listed in it."""
_LONGEST_MESSAGE = 4096
"""Characters: a hub may have written it, and paths are searched in it."""
_STATUS = {
    "model_not_found": 404,
    "revision_not_found": 404,
    "not_on_hub": 404,
    "no_weights": 404,
    "access_denied": 403,
    "invalid_option": 400,
    "usage_error": 400,
    "hub_unavailable": 503,
}


class Progress(Struct):
    """A line of `mlxk pull --progress-json`."""

    model: str
    revision: str
    total: int
    completed: int


class _Failure(Struct):
    type: str
    message: str


class _Envelope(Struct):
    """Output of `mlxk pull --json`."""

    error: _Failure | None = None


class PullFailed(MlxkError):
    """The pull failed. The kind is that of the error of `mlxk pull`."""


class PullProcess:
    """Pulls `name`; `run` returns when it is over. `interrupt` may be called before, and by any thread."""

    def __init__(self, name: str) -> None:
        self._command = [sys.executable, "-P", "-m", "mlxk_core", "pull", "--json", "--progress-json", "--", name]
        self._lock = threading.Lock()
        self._interrupted = False
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, on_progress: Callable[[Progress], None]) -> PullFailed | None:
        """Pull, and return the error if it fails."""
        try:
            # A session of its own: a Ctrl-C at the server's terminal must not reach it before the server decides.
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:  # no descriptor, memory or process left
            return _failed("hub_unavailable", f"The pull cannot be started: {error.strerror}. Try again later.")
        with self._lock:
            self._process, interrupted = process, self._interrupted
        if interrupted:
            self.interrupt()
        with process:
            stdout, stderr = process.stdout, process.stderr
            assert stdout is not None and stderr is not None
            document = _Document(stdout)
            # A daemon, as the caller's thread should be: the server ends before a pull has saved what it has.
            reader = threading.Thread(target=document.read, name="mlxk-pull-result", daemon=True)
            reader.start()
            for line in iter(lambda: stderr.readline(_LONGEST_LINE), b""):
                with contextlib.suppress(msgspec.DecodeError):
                    on_progress(decoder_of(Progress).decode(line))
            process.wait()
            reader.join()
        return _error(document.data, process.returncode)

    def interrupt(self) -> None:
        """Interrupt the pull as Ctrl-C does, and kill it if it does not end."""
        with self._lock:
            self._interrupted = True
            process = self._process
        if process is None or process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        timer = threading.Timer(_GRACE, process.kill)  # which does nothing once it has ended
        timer.daemon = True
        timer.start()


class _Document:
    """The standard output of a process, at most `_LARGEST_DOCUMENT` bytes of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.data = b""

    def read(self) -> None:
        self.data = self._stream.read(_LARGEST_DOCUMENT)
        while self._stream.read(_LONGEST_LINE):
            pass


def _error(document: bytes, code: int) -> PullFailed | None:
    if code == 0:
        return None
    with contextlib.suppress(msgspec.DecodeError):
        failure = decoder_of(_Envelope).decode(document).error
        if failure is not None:
            return _failed(failure.type, failure.message)
    return _failed("error", f"The pull failed with exit code {code}.")


def _failed(type: str, message: str) -> PullFailed:
    return PullFailed(message[:_LONGEST_MESSAGE], kind=Kind(type, 1, _STATUS.get(type, 500)))
