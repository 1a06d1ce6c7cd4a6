"""Lock files of huggingface_hub for one repository: those in use, and those left behind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path


def lock_files(cache: Path, folder: str) -> list[Path]:
    """Return every lock file of the repository in `folder`. huggingface_hub keeps them after a download."""
    walked = os.walk(cache / ".locks" / folder)  # skips what may not be read, where pathlib raises
    return sorted(Path(parent, name) for parent, _, names in walked for name in names if name.endswith(".lock"))


def in_use(locks: Sequence[Path]) -> list[Path]:
    """Return the lock files that another process holds, which means that it is downloading."""
    from filelock import FileLock, Timeout

    held = []
    for path in locks:
        try:
            with FileLock(path, timeout=0):
                pass
        except (Timeout, OSError):
            held.append(path)
    return held


def remove(cache: Path, folder: str, locks: Sequence[Path]) -> None:
    """Delete lock files and the folders they leave empty, as far as this user may: they do no harm."""
    for path in locks:
        with contextlib.suppress(OSError):
            path.unlink()
    for parent in sorted({path.parent for path in locks}, key=lambda parent: -len(parent.parts)):
        _remove_if_empty(parent)
    _remove_if_empty(cache / ".locks" / folder)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not empty, or removed already
        folder.rmdir()
