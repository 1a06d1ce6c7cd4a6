"""What tells the content of a file from another one under its name."""

from __future__ import annotations

import os

FileStamp = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last modification and of the last change of its status, in nanoseconds.

A program may set the first time back after it has written to a file, but not the second (on Windows that of creation).
"""


def file_stamp(status: os.stat_result) -> FileStamp:
    """Return the stamp of a file with this status."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
