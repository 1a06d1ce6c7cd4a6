"""What of a revision is in the cache already: file by file, whole, broken or not there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlxk_core.api.models import Model, Repository, cache_folder_name, hub_cache
from mlxk_hub.client import MAIN, RemoteFile

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a repository lies (or would lie) in the cache, in huggingface_hub's layout."""

    repository: str
    cache: Path

    @classmethod
    def of(cls, repository: str) -> Place:
        return cls(repository, hub_cache())

    @property
    def folder(self) -> Path:
        return self.cache / cache_folder_name(self.repository)

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    @property
    def locks(self) -> Path:
        return self.cache / ".locks" / cache_folder_name(self.repository)

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def commit(self, revision: str | None) -> str | None:
        """The commit that `revision` was when it was last pulled, or the one here that it begins; else None."""
        revision = revision or MAIN
        if _COMMIT.fullmatch(revision):
            return revision
        here = Repository(self.repository, self.folder)
        known = here.refs().get(revision)
        begun = [commit for commit in here.commits() if commit.startswith(revision)] if len(revision) >= 4 else []
        return known or (begun[0] if len(begun) == 1 else None)

    def model(self, commit: str, variant: str | None) -> Model:
        return Model(name=self.repository, path=self.snapshot(commit), origin="hub", revision=commit, variant=variant)

    def remember(self, revision: str | None, commit: str) -> None:
        """Writes down which commit a branch or tag stands for, in one step: a reader sees the old or the new one."""
        revision = revision or MAIN
        if commit.startswith(revision):
            return
        reference = self.folder / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        new = reference.with_name(f".{reference.name}.{os.getpid()}.new")  # another pull may be at the same place
        new.write_text(commit, encoding="ascii")
        new.replace(reference)


@dataclass(frozen=True, slots=True)
class Held:
    """The state of a revision's files here. Sizes are compared; contents are what `--verify` is for."""

    whole: tuple[RemoteFile, ...]
    broken: tuple[RemoteFile, ...]
    missing: tuple[RemoteFile, ...]


def held(place: Place, commit: str, files: Iterable[RemoteFile]) -> Held:
    whole, broken, missing = [], [], []
    for file in files:
        path, blob = place.snapshot(commit) / file.name, place.blobs / file.digest
        if _size(path) == file.size:
            whole.append(file)
        elif _size(path) is not None:
            broken.append(file)
        # Another revision may have brought the same content: then only a link is missing.
        elif _size(blob) in (None, file.size):
            missing.append(file)
        else:
            broken.append(file)
    return Held(tuple(whole), tuple(broken), tuple(missing))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
