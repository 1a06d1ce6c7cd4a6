"""The end of the reader of our standard error: a server that shows the progress of a pull, and was killed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import sys
import threading


def interrupt_without_reader() -> None:
    """Interrupt this process, as Ctrl-C does, once its standard error is a pipe that no process reads."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # without a standard error there is nothing to watch
        descriptor = sys.stderr.fileno()
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            threading.Thread(target=_watch, args=(descriptor,), name="mlxk-reader-watch", daemon=True).start()


def _watch(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, 0)  # errors and hang-ups are reported in any case
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll()):
        os.kill(os.getpid(), signal.SIGINT)
