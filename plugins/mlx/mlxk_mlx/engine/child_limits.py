"""Limits of a child process."""

from __future__ import annotations

import math
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def limit_process(memory: int) -> None:
    """Limit the address space of this process to `memory` bytes, and write no core dump."""
    for limit, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
        except (OSError, ValueError):
            pass  # a lower limit holds already, or the system has none of this kind


def memory_limit() -> float:
    """Return the limit of this process's address space in bytes, infinite if there is none."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit


def peak_memory() -> int:
    """Return the most bytes that this process has had in memory.

    On Linux `getrusage` counts what its parent had when it was started.
    """
    if (size := _peak_of_linux()) is not None:
        return size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _peak_of_linux() -> int | None:
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return None


@contextmanager
def limited_time(seconds: float) -> Iterator[None]:
    """End this process if the block takes so many seconds of CPU: its parent may have been killed, and with the
    interpreter busy nothing else would notice. Stopped processes use none."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
