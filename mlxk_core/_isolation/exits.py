"""Exits of other code as errors, so that a plugin cannot end the process."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


@contextlib.contextmanager
def exits_as_errors() -> Iterator[None]:
    """Turn `os._exit` and what `interrupts_as_errors` turns into `SystemExit`."""

    def exit(status: int) -> NoReturn:
        raise SystemExit(status)

    real_exit, os._exit = os._exit, exit
    try:
        with interrupts_as_errors():
            yield
    finally:
        os._exit = real_exit


@contextlib.contextmanager
def interrupts_as_errors() -> Iterator[None]:
    """Turn a `KeyboardInterrupt` that the code itself raises into `SystemExit`. A Ctrl-C of the user is still a
    `KeyboardInterrupt`, and so is every one on other threads than the main one."""
    interrupted = False

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    # Only Python's own handler is replaced: an ignored signal stays ignored, and only the main thread may set one.
    watch = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if watch:
        signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        if interrupted or not watch:
            raise
        raise SystemExit("KeyboardInterrupt").with_traceback(error.__traceback__) from error
    finally:
        if watch:
            signal.signal(signal.SIGINT, signal.default_int_handler)
