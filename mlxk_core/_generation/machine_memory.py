"""Memory of the machine, and returning freed memory of this process to it."""

from __future__ import annotations

import contextlib
import os
import sys


def machine_memory() -> int:
    """Return the machine's physical memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def trim_heap() -> None:
    """Return freed heap memory to the system. glibc keeps it otherwise: 4 MB of prompt leave 1 GB resident.

    Takes milliseconds. Without effect where the C library has no `malloc_trim` (macOS, musl).
    """
    if sys.platform == "linux":
        import ctypes  # only needed here

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
