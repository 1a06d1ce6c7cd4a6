"""Standard output belongs to mlxk: what other code prints goes to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, cast


class _Redirection:
    """The redirection of this process's standard output. It is counted, since `contextlib.redirect_stdout` of two
    threads may restore in the wrong order."""

    def __init__(self) -> None:
        self.owns_descriptor = False
        """Whether descriptor 1 is redirected too."""
        self.answers: TextIO | None = None
        """Kept to the end of the process: Python 3.13 reports a stream whose pipe is closed when it is collected."""
        self._lock = threading.Lock()
        self._depth = 0
        self._stream: TextIO | None = None
        self._descriptor: int | None = None

    def begin(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._stream = sys.stdout
                self._descriptor = _point_stdout_to_stderr() if self.owns_descriptor else None
                sys.stdout = sys.stderr
            self._depth += 1

    def end(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                sys.stdout, self._stream = self._stream, None
                if self._descriptor is not None:
                    _flush_c_streams()
                    os.dup2(self._descriptor, 1)
                    os.close(self._descriptor)


_redirection = _Redirection()


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send what any code prints to standard error, on every thread; in the process of `mlxk` also what C code and child
    processes print. mlxk's own output is not affected: its streams are bound before."""
    _redirection.begin()
    try:
        yield
    finally:
        _redirection.end()


class quiet_thread:  # used like a function; a generator takes twice as long, for every token
    """Send what this thread prints to standard error, and leave what others print as it is. Cheap enough for every
    token; for Python's prints only, since a descriptor belongs to all threads."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before, _this_thread.quiet = _this_thread.quiet, True

    def __exit__(self, *_: object) -> None:
        _this_thread.quiet = self._before


class _ThisThread(threading.local):
    quiet = False


_this_thread = _ThisThread()


class _StdoutByThread:
    """Standard output, for threads that are not in `quiet_thread`. Everything but writing is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return (sys.stderr if _this_thread.quiet else self._stream).write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        (sys.stderr if _this_thread.quiet else self._stream).writelines(lines)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def own_stdout() -> TextIO | None:
    """Return a stream for answers on a descriptor of its own, None if standard output is closed. From now on
    `quiet_stdout` redirects descriptor 1 too, and `quiet_thread` has an effect.

    For the process of `mlxk` only: in another one the descriptors are not ours to change.
    """
    if sys.stdout is None:
        return None
    _redirection.owns_descriptor = True
    sys.stdout = cast("TextIO", _StdoutByThread(sys.stdout))
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="surrogateescape", newline="\n")
    _redirection.answers = stream
    return stream


def _flush_c_streams() -> None:
    """Write what C code has printed and its library still holds. Only where `ctypes` is loaded, which would slow every
    command: it is if an engine ran."""
    ctypes = sys.modules.get("ctypes")
    if ctypes is not None:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)


def _point_stdout_to_stderr() -> int | None:
    """Point descriptor 1 to standard error and return a copy of what it was; None if it cannot be redirected."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()  # what was printed before belongs to the answer
    try:
        before = os.dup(1)
    except OSError:
        return None
    try:
        os.dup2(2, 1)
    except OSError:
        os.close(before)
        return None
    return before
