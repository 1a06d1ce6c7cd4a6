"""Removal of what an interrupted download leaves behind and no later one can use.

huggingface_hub writes `blobs/DIGEST.RANDOM.incomplete` while it holds the lock `.locks/.../DIGEST.lock`, and keeps the
lock file. A killed process leaves both, but the operating system releases its lock: a partial file whose lock is free
has no writer. Our own partial files (`DIGEST.incomplete`) are kept for the next pull to resume.

A download executes this module with `python -m` when its parent is gone.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_SUFFIX = ".incomplete"
_TRIES = 6


def remove_partial_files(blobs: Path, locks: Path, *, resumable: bool = False) -> int:
    """Remove partial files that have no writer, and return how many.

    With `resumable` also those that a pull could resume.
    """
    removed = 0
    for path in sorted(blobs.glob(f"*{_SUFFIX}")):
        digest, _, random = path.name.removesuffix(_SUFFIX).partition(".")
        useful = not random and not (blobs / digest).exists() and path.stat().st_size > 0
        if useful and not resumable:
            continue
        with _try_lock(locks / f"{digest}.lock") as unused:
            if unused:
                with suppress(OSError):
                    path.unlink()
                    removed += 1
    return removed


def remove_locks(locks: Path) -> None:
    """Remove the lock files that no process holds.

    Their folder stays: a program that waits for a lock cannot take it in a removed one.
    """
    for path in sorted(locks.glob("*.lock")):
        with _try_lock(path) as unused:
            if unused:
                with suppress(OSError):
                    path.unlink()


def remove_empty_repository(folder: Path, locks: Path, commit: str) -> None:
    """Remove the empty folders of a revision without files, and those of the repository if it has none at all."""
    snapshot = folder / "snapshots" / commit
    for path in sorted(snapshot.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if snapshot.is_dir() and not any(snapshot.iterdir()):
        snapshot.rmdir()
        (folder / "trees" / f"{commit}.json").unlink(missing_ok=True)
    if _has_files(folder / "blobs") or _has_files(folder / "snapshots"):
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    if folder.is_dir():
        folder.rmdir()
    with suppress(OSError):  # still in use, or never created
        locks.rmdir()


def despite_cleanups(step: Callable[[], object]) -> None:
    """Take a step again if its folders vanished: another pull that is stopped before it has a file removes them."""
    for remaining in reversed(range(_TRIES)):
        try:
            step()
        except FileNotFoundError as error:
            if error.errno != errno.ENOENT or not remaining:  # huggingface_hub's own subclass is about the hub
                raise
        else:
            return


@contextmanager
def _try_lock(lock: Path) -> Iterator[bool]:
    """Hold the lock for a moment; False if another process holds it, or the file system has no locks."""
    if not lock.exists():
        yield True
        return
    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except (Timeout, OSError, RuntimeError):
        yield False
        return
    try:
        yield True
    finally:
        held.release()


def _has_files(folder: Path) -> bool:
    return any(path.is_symlink() or path.is_file() for path in folder.rglob("*"))


if __name__ == "__main__":
    repository_folder, locks_folder, commit_hash = sys.argv[1:]
    remove_partial_files(Path(repository_folder) / "blobs", Path(locks_folder))
    remove_locks(Path(locks_folder))
    remove_empty_repository(Path(repository_folder), Path(locks_folder), commit_hash)
