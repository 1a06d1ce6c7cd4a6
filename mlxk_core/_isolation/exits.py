"""Exits of other code as errors, so that importing a plugin cannot end the process."""

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
    """Turn `os._exit` and a `KeyboardInterrupt` that the code itself raises into `SystemExit`. A Ctrl-C of the user is
    still a `KeyboardInterrupt`."""
    interrupted = False

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    def exit(status: int) -> NoReturn:
        raise SystemExit(status)

    # Only Python's own handler is replaced: an ignored signal stays ignored, and only the main thread may set one.
    watch = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if watch:
        signal.signal(signal.SIGINT, on_interrupt)
    real_exit, os._exit = os._exit, exit
    try:
        yield
    except KeyboardInterrupt as error:
        if interrupted or not watch:
            raise
        raise SystemExit("KeyboardInterrupt").with_traceback(error.__traceback__) from error
    finally:
        os._exit = real_exit
        if watch:
            signal.signal(signal.SIGINT, signal.default_int_handler)
