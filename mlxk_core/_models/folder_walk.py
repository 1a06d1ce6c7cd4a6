"""The files below a folder, however deep."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mlxk_core._system_limits import raise_system_limit


def walk(folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield every file below `folder` with its name in it, such as `a/b.json`, and each folder that cannot be read.

    Hidden files and folders are left out. Links are yielded, not followed: those to folders may be circular. Raises
    `OSError` if `folder` itself cannot be read, `SystemLimit` without a file descriptor.
    """
    waiting = _entries(folder, "")  # a stack: thousands of folders may be in one another
    while waiting:
        name, entry = waiting.pop()
        if entry.is_dir(follow_symlinks=False):
            try:
                waiting += _entries(entry.path, f"{name}/")
                continue
            except OSError as error:
                raise_system_limit(error)
        yield name, entry


def _entries(folder: str, prefix: str) -> list[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        return [(prefix + entry.name, entry) for entry in entries if not entry.name.startswith(".")]
