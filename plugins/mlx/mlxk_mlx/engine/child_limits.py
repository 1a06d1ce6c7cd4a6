"""Limits of a child process."""

from __future__ import annotations

import resource


def limit_process(memory: int) -> None:
    """Limit the address space of this process to `memory` bytes, and write no core dump."""
    for limit, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
        except (OSError, ValueError):
            pass  # a lower limit holds already, or the system has none of this kind
