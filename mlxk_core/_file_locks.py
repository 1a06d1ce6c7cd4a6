"""Locks on files and folders that several processes change."""

from __future__ import annotations

import fcntl
import time

_POLL_SECONDS = 0.01


def lock_exclusively(descriptor: int, seconds: float) -> None:
    """Lock an open file or folder until it is closed.

    Raises `BlockingIOError` if another process keeps the lock for so many seconds, another `OSError` if its disk has
    no locks.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(_POLL_SECONDS)
