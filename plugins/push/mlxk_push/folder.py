"""The folder that is to be pushed: its files, and whether they are a whole model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mlxk_core.errors import InvalidOption
from mlxk_core.models.health import Problem, check
from mlxk_core.models.model import Model
from mlxk_push.ignore import IGNORE_FILE, Ignore


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file by its path inside the folder."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Folder:
    path: Path
    files: tuple[LocalFile, ...]
    problems: tuple[Problem, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def read(path: Path) -> Folder:
    """Reads names, sizes and headers, offline and without a token. What would be left out does not count: that must
    not be what makes a model whole."""
    if not path.is_dir():
        raise InvalidOption("DIR", f"`{path}` is no folder.")
    ignored = Ignore.of(path)
    files = tuple(file for file in _walk(path) if not ignored(file.name))
    model = Model(name=path.resolve().name, path=path)
    of_all = check(model).problems
    problems = tuple(
        each if each in of_all else replace(each, message=f"{each.message} {IGNORE_FILE} leaves it out.")
        for each in check(model, left_out=ignored).problems
    )
    return Folder(path, files, problems)


def _walk(root: Path) -> Iterator[LocalFile]:
    """Links to files are followed, as a snapshot of the cache is made of them; links to folders are not."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file():
                yield LocalFile(path.relative_to(root).as_posix(), path, path.stat().st_size)
