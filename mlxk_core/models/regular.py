"""Which paths of a model may be opened at all: regular files, and nothing that would keep a reader waiting."""

from __future__ import annotations

import errno
import stat
from pathlib import Path


def regular(path: Path) -> Path:
    """`path`, if it is a regular file. Raises `OSError` where there is none, and for a pipe, a socket, a device or a
    folder: to open a pipe that nobody writes to takes for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "It is no regular file", str(path))
    return path
