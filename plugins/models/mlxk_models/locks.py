"""Lock files of huggingface_hub for one repository: those in use, and those left behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def lock_files(cache: Path, folder: str) -> list[Path]:
    """Return every lock file of the repository in `folder`. huggingface_hub keeps them after a download."""
    return sorted(path for path in (cache / ".locks" / folder).rglob("*.lock") if path.is_file())


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
    """Delete lock files and the folders they leave empty."""
    for path in locks:
        path.unlink(missing_ok=True)
    for parent in sorted({path.parent for path in locks}, key=lambda parent: -len(parent.parts)):
        _remove_if_empty(parent)
    _remove_if_empty(cache / ".locks" / folder)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass  # not empty, or removed already
