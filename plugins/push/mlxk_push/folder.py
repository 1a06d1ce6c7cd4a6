"""The folder to push: its files, and whether they are a complete model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.models import Model, Problem, check_health, leads_outside
from mlxk_core.api.paths import is_folder
from mlxk_push.ignore import IGNORE_FILE, IgnoreRules, is_hidden


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file; `name` is its path inside the folder."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with the files to upload. `hidden` files are left out because of their names, not by a rule."""

    path: Path
    files: tuple[LocalFile, ...]
    hidden: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def read_folder(path: Path) -> Folder:
    """Read names, sizes and headers, offline and without a token.

    Files that are left out do not count for completeness. Raises `InvalidOption` if `path` is not a folder, if the hub
    cannot store a file's name, or if a file is a link that leads outside.
    """
    if not is_folder(path):
        raise InvalidOption("DIR", f"`{path}` is not a folder.")
    ignored = IgnoreRules.of(path)
    candidates = [file for file in _walk(path) if not ignored(file.name)]
    files = tuple(file for file in candidates if not is_hidden(file.name))
    hidden = tuple(_printable(file.name) for file in candidates if is_hidden(file.name))
    _check_names(files)
    _check_links(path, files)
    model = Model(name=path.resolve().name, path=path)
    without_rules = check_health(model).problems
    problems = tuple(
        each if each in without_rules else replace(each, message=f"{each.message} {IGNORE_FILE} leaves it out.")
        for each in check_health(model, left_out=ignored).problems
    )
    return Folder(path, files, hidden, problems)


def _check_names(files: Iterable[LocalFile]) -> None:
    for file in files:
        if _printable(file.name) != file.name:
            raise InvalidOption(
                "DIR",
                f"the file name `{_printable(file.name)}` is not UTF-8, and the hub cannot store it. Rename it, or "
                f"list it in {IGNORE_FILE}.",
            )


def _check_links(path: Path, files: Iterable[LocalFile]) -> None:
    outside = [file.name for file in files if leads_outside(file.path, path)]
    if outside:
        raise InvalidOption(
            "DIR",
            f"`{outside[0]}` is a link to a hidden file or to one outside of the folder. Replace it by the file, or "
            f"list it in {IGNORE_FILE}.",
        )


def _printable(name: str) -> str:
    """Return a name for people and for JSON: bytes that are not UTF-8 are escaped."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _walk(root: Path) -> Iterator[LocalFile]:
    """Follow links to files, which snapshots of the cache consist of, but not links to folders."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file():
                yield LocalFile(path.relative_to(root).as_posix(), path, path.stat().st_size)
