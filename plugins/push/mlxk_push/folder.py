"""The folder that is to be pushed: its files, and whether they are a whole model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlxk_core.errors import InvalidOption
from mlxk_core.models.filenames import weight_format
from mlxk_core.models.health import Problem, check
from mlxk_core.models.model import Model
from mlxk_push.ignore import Ignore


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
    """Reads names, sizes and headers. Offline, and without a token."""
    if not path.is_dir():
        raise InvalidOption("DIR", f"`{path}` is no folder.")
    ignored = Ignore.of(path)
    files = tuple(file for file in _walk(path) if not ignored(file.name))
    names = {file.name for file in files}
    health = check(Model(name=path.resolve().name, path=path))
    problems = tuple(
        each for each in health.problems if each.file is None or each.file in names or not _here(path, each)
    )
    if not problems and not any(weight_format(name) for name in names):
        problems = (Problem("no_weights_found", "All weights are left out by .hfignore.", None),)
    return Folder(path, files, problems)


def _here(folder: Path, problem: Problem) -> bool:
    return problem.file is not None and (folder / problem.file).exists()


def _walk(root: Path) -> Iterator[LocalFile]:
    """Links to files are followed, as a snapshot of the cache is made of them; links to folders are not."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file():
                yield LocalFile(path.relative_to(root).as_posix(), path, path.stat().st_size)
