"""The history of typed lines: one file that several chats append to."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_toolkit.history import History

from mlxk_core.api.paths import is_file, lock_exclusively

_LINES = 1000
_LOCK_SECONDS = 1.0
"""A process that was stopped may hold the lock for any time: then a line is not remembered."""


class InputHistory(History):
    """Typed lines of all chats, newest first. Several open chats append to one file and lose nothing.

    A line of the file is a JSON string, so that an entry may hold several lines and any character.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        with contextlib.suppress(OSError):
            _shorten(file)

    def load_history_strings(self) -> Iterable[str]:
        return reversed([*_read(self._file)])

    def store_string(self, string: str) -> None:
        with contextlib.suppress(OSError), _lock(self._file) as descriptor:
            os.lseek(descriptor, 0, os.SEEK_END)
            os.write(descriptor, (json.dumps(string) + "\n").encode("ascii"))


def _read(file: Path) -> Iterator[str]:
    if not is_file(file):  # reading a pipe would block
        return
    with contextlib.suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                yield str(json.loads(line))


@contextlib.contextmanager
def _lock(file: Path) -> Iterator[int]:
    """Open the file and lock it. Raises `OSError`, also if another process keeps the lock."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        lock_exclusively(descriptor, _LOCK_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


def _shorten(file: Path) -> None:
    """Keep the last lines of a file that has grown to twice its size."""
    if not is_file(file):
        return
    with _lock(file) as descriptor:
        lines = file.read_bytes().splitlines(keepends=True)
        if len(lines) > 2 * _LINES:
            kept = b"".join(lines[-_LINES:])
            if os.pwrite(descriptor, kept, 0) == len(kept):  # before the end is cut off: the disk may be full
                os.ftruncate(descriptor, len(kept))
