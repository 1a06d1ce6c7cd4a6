"""The history of typed lines: one file that several chats append to."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_toolkit.history import History

_LINES = 1000


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
            os.write(descriptor, (json.dumps(string) + "\n").encode("ascii"))


def _read(file: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                yield str(json.loads(line))


@contextlib.contextmanager
def _lock(file: Path) -> Iterator[int]:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _shorten(file: Path) -> None:
    """Keep the last lines of a file that has grown to twice its size."""
    if not file.exists():
        return
    with _lock(file) as descriptor:
        lines = file.read_bytes().splitlines(keepends=True)
        if len(lines) > 2 * _LINES:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, b"".join(lines[-_LINES:]))
