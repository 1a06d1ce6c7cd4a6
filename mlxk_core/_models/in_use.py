"""Marks of models in use: a process that has loaded a model holds a shared lock on its folder.

The lock is on the folder itself, so that a read-only cache works and nothing is left behind. It ends with the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class InUseMark:
    """A mark on a model's folder (or `.gguf` file), kept until `end`. File systems without locks keep no mark."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise
            self._descriptor = descriptor

    def end(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def in_use(path: Path) -> bool:
    """Return whether a process, possibly this one, has marked the folder as in use."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
