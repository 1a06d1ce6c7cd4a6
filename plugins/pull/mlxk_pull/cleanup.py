"""Parts of files that nobody downloads any more: found by their lock, and removed.

huggingface_hub writes a file to `blobs/<digest>.<random>.incomplete` while it holds the lock `.locks/…/<digest>.lock`.
A process that is killed leaves its parts behind, and no later one goes on with them. The operating system has let go
of its locks, though: a part whose lock is free has no owner, and a part whose lock is held belongs to somebody who is
at work, perhaps in another program.

Run with `python -m` this is what a download turns into when its parent has gone.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock, Timeout


def remove_parts(blobs: Path, locks: Path) -> int:
    """Removes the parts in `blobs` that nobody is writing; how many there were."""
    removed = 0
    for part in sorted(blobs.glob("*.incomplete")):
        lock = locks / f"{part.name.split('.')[0]}.lock"
        with ExitStack() as stack:
            if lock.exists():
                try:
                    stack.enter_context(FileLock(lock, timeout=0))
                except (Timeout, OSError, RuntimeError):  # held, or on a file system that knows no locks
                    continue
            part.unlink(missing_ok=True)
            removed += 1
    return removed


def remove_shell(folder: Path, commit: str) -> None:
    """Removes what a download that got nothing has left of a repository: folders without a file of a model."""
    snapshot = folder / "snapshots" / commit
    for path in sorted(snapshot.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if snapshot.is_dir() and not any(snapshot.iterdir()):
        snapshot.rmdir()
        (folder / "trees" / f"{commit}.json").unlink(missing_ok=True)
    if any(_files(folder / "blobs")) or any(_files(folder / "snapshots")):
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    if folder.is_dir():
        folder.rmdir()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]


if __name__ == "__main__":
    repository, locks, commit = sys.argv[1:]
    remove_parts(Path(repository) / "blobs", Path(locks))
    remove_shell(Path(repository), commit)
