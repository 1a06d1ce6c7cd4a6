"""State of a repository in the local cache: its folders, its references, and which files are complete."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlxk_core.api.models import Model, Repository, cache_folder_name, hub_cache
from mlxk_hub.client import MAIN, RemoteFile

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MIN_PREFIX = 4


@dataclass(frozen=True, slots=True)
class LocalRepository:
    """A repository's place in the cache, in huggingface_hub's layout. It need not exist."""

    name: str
    cache: Path

    @classmethod
    def of(cls, name: str) -> LocalRepository:
        return cls(name, hub_cache())

    @property
    def folder(self) -> Path:
        return self.cache / cache_folder_name(self.name)

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    @property
    def locks(self) -> Path:
        return self.cache / ".locks" / cache_folder_name(self.name)

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def partial(self, file: RemoteFile) -> Path:
        """Return the path of the file's partial download, which a later pull resumes."""
        return partial_path(self.blobs, file.digest)

    def commit(self, revision: str | None) -> str | None:
        """Return the commit of `revision` at its last pull, or the local commit that it is a prefix of."""
        revision = revision or MAIN
        if _COMMIT.fullmatch(revision):
            return revision
        repository = Repository(self.name, self.folder)
        known = repository.refs().get(revision)
        long_enough = len(revision) >= _MIN_PREFIX
        matches = [each for each in repository.commits() if long_enough and each.startswith(revision)]
        return known or (matches[0] if len(matches) == 1 else None)

    def model(self, commit: str, variant: str | None) -> Model:
        return Model(name=self.name, path=self.snapshot(commit), origin="hub", revision=commit, variant=variant)

    def write_ref(self, revision: str | None, commit: str) -> None:
        """Record which commit a branch or tag is, atomically. Writes nothing if that is recorded already."""
        revision = revision or MAIN
        if commit.startswith(revision) or Repository(self.name, self.folder).refs().get(revision) == commit:
            return
        reference = self.folder / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        new = reference.with_name(f".{reference.name}.{os.getpid()}.new")  # another pull may write the same reference
        new.write_text(commit, encoding="ascii")
        new.replace(reference)


@dataclass(frozen=True, slots=True)
class FileStates:
    """The files of a revision by their state. Sizes are compared; `--verify` compares contents."""

    complete: tuple[RemoteFile, ...]
    damaged: tuple[RemoteFile, ...]
    missing: tuple[RemoteFile, ...]


def files_by_state(repository: LocalRepository, commit: str, files: Iterable[RemoteFile]) -> FileStates:
    complete, damaged, missing = [], [], []
    for file in files:
        path, blob = repository.snapshot(commit) / file.name, repository.blobs / file.digest
        if _size(path) == file.size:
            complete.append(file)
        elif _size(path) is not None:
            damaged.append(file)
        # Another revision may have the same content: then only a link is missing.
        elif _size(blob) in (None, file.size):
            missing.append(file)
        else:
            damaged.append(file)
    return FileStates(tuple(complete), tuple(damaged), tuple(missing))


def partial_path(blobs: Path, digest: str) -> Path:
    """Return where the partial download of a blob is.

    huggingface_hub's own have a random part in their names (`DIGEST.RANDOM.incomplete`) and cannot be resumed.
    """
    return blobs / f"{digest}.incomplete"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
