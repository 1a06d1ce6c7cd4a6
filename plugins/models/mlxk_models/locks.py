"""huggingface_hub's locks of one repository: the files it leaves behind, and the ones somebody holds now."""

from __future__ import annotations

from pathlib import Path


def lock_files(cache: Path, folder: str) -> list[Path]:
    """Every lock file of the repository in `folder`. Most are left behind: nobody deletes them after a download."""
    return sorted(path for path in (cache / ".locks" / folder).rglob("*.lock") if path.is_file())


def held(locks: list[Path]) -> list[Path]:
    """Those that another process holds, which means that it is downloading."""
    from filelock import FileLock, Timeout  # a dependency of huggingface_hub, which locks with it

    taken = []
    for path in locks:
        try:
            with FileLock(path, timeout=0):
                pass
        except (Timeout, OSError):
            taken.append(path)
    return taken


def remove(cache: Path, folder: str, locks: list[Path]) -> None:
    """Deletes lock files nobody needs any more, and their folder."""
    for path in locks:
        path.unlink(missing_ok=True)
    for parent in sorted({path.parent for path in locks}, key=lambda parent: -len(parent.parts)):
        _remove_if_empty(parent)
    _remove_if_empty(cache / ".locks" / folder)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass  # something else is in it
