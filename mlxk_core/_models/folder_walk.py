"""The files below a folder, however deep and however many."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mlxk_core._models.folder_entries import folder_entries
from mlxk_core._system_limits import raise_system_limit

MOST_FILES = 10_000
"""More than any model has. The files of a folder are looked at one by one, in many places."""
_MOST_FOLDERS = 1000


def walk(folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the files below `folder` with their names in it, such as `a/b.json`: one more than `MOST_FILES` at most.

    A folder that cannot be read is yielded too, as is one after a thousand others. Hidden files and folders are left
    out. Links are yielded, not followed: those to folders may be circular. Raises `OSError` if `folder` itself cannot
    be read, `SystemLimit` without a file descriptor.
    """
    left, folders = MOST_FILES + 1, _MOST_FOLDERS
    waiting = _entries(folder, "", left)  # a stack: thousands of folders may be in one another
    while waiting and left:
        name, entry = waiting.pop()
        if folders and entry.is_dir(follow_symlinks=False):
            folders -= 1
            try:
                waiting += _entries(entry.path, f"{name}/", left - len(waiting))
                continue
            except OSError as error:
                raise_system_limit(error)
        left -= 1
        yield name, entry


def _entries(folder: str, prefix: str, most: int) -> list[tuple[str, os.DirEntry[str]]]:
    return [(prefix + entry.name, entry) for entry in folder_entries(folder, most)]
