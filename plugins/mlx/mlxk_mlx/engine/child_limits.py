"""Limits of a child process."""

from __future__ import annotations

import math
import resource


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
