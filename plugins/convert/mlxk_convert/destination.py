"""Where a converted model is written: a folder, or the local cache. It appears complete, or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlxk_core.api.commands import terminations_raise
from mlxk_core.api.errors import InvalidOption, MlxkError, NotEnoughDisk, UsageError
from mlxk_core.api.models import NameReference, cache_folder_name, check_hub_cache, parse_reference
from mlxk_core.api.paths import is_folder
from mlxk_core.api.text import human_size

LOCAL_OWNER = "local"
"""Owner of a converted model in the cache if the user names none."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A place for a model. `root` must not exist; the files of the model go to `files`, a path inside it.

    `name` is what lists show, None for a folder outside the cache.
    """

    root: Path
    files: str
    name: str | None
    commit: str = ""

    @classmethod
    def folder(cls, path: Path) -> Destination:
        path = path.absolute()
        if not is_folder(path.parent):
            raise UsageError(f"{path.parent} is not a folder. Create it first.")
        return cls(root=path, files=".", name=None)

    @classmethod
    def in_cache(cls, name: str, *, content: str) -> Destination:
        """Return a place in the cache. `name` is `ORG/NAME` or `NAME`; the revision is a hash of `content`."""
        full = name if "/" in name else f"{LOCAL_OWNER}/{name}"
        reference = parse_reference(full)
        if not isinstance(reference, NameReference) or reference != NameReference(full) or not reference.is_hub_name:
            raise InvalidOption("--name", f"`{name}` is not a model name. Use NAME or ORG/NAME.")
        commit = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
        root = check_hub_cache() / cache_folder_name(full)
        return cls(root=root, files=f"snapshots/{commit}", name=full, commit=commit)

    @property
    def path(self) -> Path:
        """The final folder of the model's files."""
        return Path(os.path.normpath(self.root / self.files))

    def check_free(self) -> None:
        """Raise `UsageError` if something exists there already, except an empty folder."""
        if is_folder(self.root) and not any(self.root.iterdir()):
            return
        if not os.path.lexists(self.root):
            return
        if self.name is None:
            raise UsageError(f"{self.root} already exists. Choose another folder.")
        raise UsageError(
            f"`{self.name}` is already in the local cache. Use --name for another name, or delete it first: "
            f"`mlxk rm {self.name}`."
        )

    def check_space(self, needed: int) -> None:
        """Raise `NotEnoughDisk` unless `needed` bytes fit."""
        folder = next(each for each in (self.root, *self.root.parents) if is_folder(each))
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise NotEnoughDisk(
                f"Not enough disk space: {human_size(needed)} to write, {human_size(free)} free on {folder}. "
                "Choose a folder on another disk, or remove models with `mlxk rm`.",
                needed=needed,
                free=free,
                folder=str(folder),
            )

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """Yield an empty folder for the files, which becomes `path` at the end. After an error nothing is left.

        Raises `UsageError` if another process writes the same model.
        """
        staging = self.root.with_name(f".{self.root.name}.partial")
        with terminations_raise():  # also while the files are removed
            try:
                if self.name is not None:
                    self.root.parent.mkdir(parents=True, exist_ok=True)
                with _hold_lock(staging):
                    _empty(staging)  # of a process that was killed
                    files = staging / self.files
                    files.mkdir(parents=True, exist_ok=True)
                    yield files
                    if self.commit:
                        (staging / "refs").mkdir()
                        (staging / "refs" / "main").write_text(self.commit, encoding="ascii")
                    self.check_free()
                    staging.rename(self.root)
            except OSError as error:
                _remove_unless_locked(staging)
                raise MlxkError(
                    f"Cannot write {error.filename or self.root}: {error.strerror or error}.", reason="not_writable"
                ) from error
            except BaseException:
                _remove_unless_locked(staging)
                raise


@contextlib.contextmanager
def _hold_lock(folder: Path) -> Iterator[None]:
    """Create `folder` and hold a lock on it, which ends with the process."""
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not _lock(descriptor):
            raise UsageError(f"Another process is writing {folder}.")
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a folder; return False if another process has locked it. Without file locks, none is assumed to."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _remove_unless_locked(folder: Path) -> None:
    """Remove what this process, or one that was killed, has written; not what another one is writing."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if _lock(descriptor):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
