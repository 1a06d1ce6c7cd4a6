"""The hub cache: where it is, which repositories it holds, and which snapshot each name stands for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxk_core._models.files import regular_file

_PREFIX = "models--"
_MAIN = "main"
_COMMIT = re.compile(r"[\w-]{1,64}", re.ASCII)  # 40 hex digits on the hub; never a path


def hub_cache() -> Path:
    """The folder huggingface_hub would use now, by its own rules but without importing it.

    They are read at call time: huggingface_hub freezes them when it is imported, and takes 0.3 s for that.
    """
    # os.path, not pathlib: only it expands variables, and the order of steps is huggingface_hub's.
    home = os.environ.get("HF_HOME")
    if home is None:
        parent = os.environ.get("XDG_CACHE_HOME", os.path.join(os.path.expanduser("~"), ".cache"))  # noqa: PTH111, PTH118
        home = os.path.join(parent, "huggingface")  # noqa: PTH118
    default = os.path.join(_expanded(home), "hub")  # noqa: PTH118
    return Path(_expanded(os.environ.get("HF_HUB_CACHE", os.environ.get("HUGGINGFACE_HUB_CACHE", default))))


def cache_folder_name(name: str) -> str:
    """The folder of repository `name`: `models--org--name`."""
    return _PREFIX + name.replace("/", "--")


def repository_name(folder: str) -> str | None:
    """The repository in `folder`, or None if it is no model's. Names hold no `--`, so the first one is the `/`."""
    name = folder.removeprefix(_PREFIX)
    return name.replace("--", "/", 1) if folder.startswith(_PREFIX) and name else None


@dataclass(frozen=True, slots=True)
class Repository:
    """One model repository of the cache. Nothing is read before it is asked for; what is damaged reads as absent."""

    name: str
    path: Path

    def snapshot(self, commit: str) -> Path:
        """The folder of that commit's files, whether or not it is there."""
        return self.path / "snapshots" / commit

    def commits(self) -> tuple[str, ...]:
        """The commits whose snapshots are here, sorted."""
        return tuple(sorted(entry.name for entry in _folders(self.path / "snapshots")))

    def parts(self) -> tuple[int, ...]:
        """The bytes of each file whose download was begun and has not finished; nobody goes on with those that were
        left behind."""
        found = []
        for path in sorted((self.path / "blobs").glob("*.incomplete")):
            try:
                found.append(path.stat().st_size)
            except OSError:  # it has become a file, or was removed, meanwhile
                continue
        return tuple(found)

    def main(self) -> str | None:
        """The commit the bare name stands for.

        It is the one `refs/main` names, also when its files are not here: another snapshot in its place would be
        another model than huggingface_hub loads. Without that reference (a download by commit writes none) it is the
        newest snapshot; None if there is none.
        """
        named = _read_ref(self.path / "refs" / _MAIN)
        if named:
            return named
        found = [(entry.stat().st_mtime_ns, entry.name) for entry in _folders(self.path / "snapshots")]
        return max(found)[1] if found else None

    def refs(self) -> Mapping[str, str]:
        """The commit of every branch, tag and pull request that was downloaded by its name."""
        root = self.path / "refs"
        found = {}
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder) / name
                if commit := _read_ref(path):
                    found[path.relative_to(root).as_posix()] = commit
        return dict(sorted(found.items()))


def cached_repositories() -> list[Repository]:
    """Every model repository of the cache, by name; none when there is no cache."""
    found = [(repository_name(entry.name), entry) for entry in _folders(hub_cache())]
    return sorted((Repository(name, Path(entry.path)) for name, entry in found if name), key=lambda one: one.name)


def _folders(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if not entry.name.startswith(".") and _is_folder(entry)]
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into a folder that may not be read: the others are here all the same
        return False


def _read_ref(path: Path) -> str:
    """The commit in a reference; nothing for what could not be the name of a snapshot's folder."""
    try:
        text = regular_file(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if _COMMIT.fullmatch(text) else ""


def _expanded(path: str) -> str:
    return os.path.expandvars(os.path.expanduser(path))  # noqa: PTH111
