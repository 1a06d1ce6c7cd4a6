"""The folder that is to be pushed: its files, and whether they are a whole model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.models import Model, Problem, check_health
from mlxk_push.ignore import IGNORE_FILE, Ignore, is_hidden


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file by its path inside the folder."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Folder:
    """`hidden` are the files that no rule leaves out, and that stay here all the same because of their dot."""

    path: Path
    files: tuple[LocalFile, ...]
    hidden: tuple[str, ...]
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
    wanted = [file for file in _walk(path) if not ignored(file.name)]
    files = tuple(file for file in wanted if not is_hidden(file.name))
    hidden = tuple(_spelled(file.name) for file in wanted if is_hidden(file.name))
    _refuse_names(files)
    model = Model(name=path.resolve().name, path=path)
    of_all = check_health(model).problems
    problems = tuple(
        each if each in of_all else replace(each, message=f"{each.message} {IGNORE_FILE} leaves it out.")
        for each in check_health(model, left_out=ignored).problems
    )
    return Folder(path, files, hidden, problems)


def _refuse_names(files: Iterable[LocalFile]) -> None:
    for file in files:
        if _spelled(file.name) != file.name:
            raise InvalidOption(
                "DIR",
                f"the name of `{_spelled(file.name)}` in it is not UTF-8, so no hub can hold it. Rename it, or list it "
                f"in {IGNORE_FILE}.",
            )


def _spelled(name: str) -> str:
    """A name for people and for JSON: bytes that are no UTF-8 are spelled out."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _walk(root: Path) -> Iterator[LocalFile]:
    """Links to files are followed, as a snapshot of the cache is made of them; links to folders are not."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file():
                yield LocalFile(path.relative_to(root).as_posix(), path, path.stat().st_size)
