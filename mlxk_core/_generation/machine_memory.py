"""Memory of the machine, and returning freed memory of this process to it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def machine_memory() -> int:
    """Return the machine's physical memory in bytes, or what a container may use of it."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_group_limits()])


def _group_limits() -> list[int]:
    """Return the limits of the control groups that this process sees itself in (Linux)."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            limits += _limits_up(_GROUPS, path, "memory.max")
        elif "memory" in controllers.split(","):  # version 1
            limits += _limits_up(_GROUPS / "memory", path, "memory.limit_in_bytes")
    return [limit for limit in limits if limit > 0]


def _limits_up(root: Path, path: str, name: str) -> list[int]:
    """Return the limits in the files `name` of a group and of those around it. In a container the path may be that on
    the machine, and `root` the group itself."""
    group = root / path.lstrip("/")
    limits = []
    for folder in (group, *group.parents):
        with contextlib.suppress(OSError, ValueError):  # none, or `max`
            limits.append(int((folder / name).read_text(encoding="ascii")))
    return limits


def trim_heap() -> None:
    """Return freed heap memory to the system. glibc keeps it otherwise: 4 MB of prompt leave 1 GB resident.

    Takes milliseconds. Without effect where the C library has no `malloc_trim` (macOS, musl).
    """
    if sys.platform == "linux":
        import ctypes  # only needed here

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
