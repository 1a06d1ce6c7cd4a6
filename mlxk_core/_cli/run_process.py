"""The process of `mlxk`: its standard streams, and how it ends."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from mlxk_core._generation import ENGINE_THREAD

CLOSED_PIPE = 141  # what a shell reports for a program killed by SIGPIPE
_THREAD_STACK = 8 << 20
"""Bytes of the stack of a thread, in address space. Compilers of grammars and regular expressions call themselves: what
was tried on a smaller one must not overflow it."""


def run_process(run: Callable[[], int]) -> NoReturn:
    """Call `run` with the standard streams open, and end the process with the exit code that it returns."""
    code = 1

    def end() -> None:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    # Registered first, so called last, after all other exit handlers. It replaces the teardown of the interpreter,
    # which takes 0.2 s with MLX and transformers loaded.
    atexit.register(end)
    if sys.platform == "linux":  # it depends on `ulimit -s` there: with `unlimited` it is 2 MiB
        threading.stack_size(_THREAD_STACK)
    if hasattr(signal, "pthread_sigmask"):  # a parent that waits for signals has blocked them, and that is inherited
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    _open_standard_streams()
    code = run()
    _close_standard_output()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the run is over; Ctrl-C must not print a traceback now
    if code == CLOSED_PIPE:
        # Otherwise Python reports an error on exit, when it flushes what is still buffered for the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _leave(code)


def _open_standard_streams() -> None:
    """Open /dev/null in place of each closed standard stream.

    Otherwise the next file opened gets the stream's number: MLX treats descriptor 0 as a failed open, and libraries
    write their messages into the file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one


def _close_standard_output() -> None:
    """Send what exit handlers of plugins and libraries print to standard error, since the result is complete."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout is not None:
            sys.stdout.flush()
    sys.stdout = sys.stderr
    with contextlib.suppress(OSError):
        os.dup2(2, 1)


def _leave(code: int) -> NoReturn:
    """End the process.

    An engine thread that is still alive hangs in foreign code, and Python would abort while tearing down the
    interpreter under it. Nothing is lost: all output is flushed.
    """
    if any(thread.name == ENGINE_THREAD for thread in threading.enumerate()):
        os._exit(code)
    sys.exit(code)
