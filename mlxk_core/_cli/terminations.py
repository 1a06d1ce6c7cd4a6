"""SIGTERM, and the SIGHUP of a terminal that closes, for commands that have something to clean up."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def terminations_handled(handle: Callable[[int], None]) -> Iterator[None]:
    """Call `handle` with the number of each SIGTERM and SIGHUP. Signals that are ignored or handled already stay so, as
    do all on another thread than the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        handle(number)

    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def terminations_raise() -> contextlib.AbstractContextManager[None]:
    """Turn the first SIGTERM or SIGHUP into `SystemExit`, and ignore later ones: a shell and the system both send a
    SIGHUP when a terminal closes."""
    ended = False

    def end(number: int) -> None:
        nonlocal ended
        if not ended:
            ended = True
            raise SystemExit(128 + number)

    return terminations_handled(end)
