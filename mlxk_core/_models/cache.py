"""The local hub cache: its location, its repositories, and the snapshot that each name refers to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mlxk_core._errors import InvalidOption
from mlxk_core._models.files import read_small_file
from mlxk_core._models.folder_entries import folder_entries
from mlxk_core._models.folder_walk import MOST_FILES, walk
from mlxk_core._paths import NoHomeFolder, is_folder, path_exists
from mlxk_core._system_limits import raise_system_limit

CACHE_VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME")
"""The variables that set the location of the cache, in order of precedence."""
_PREFIX = "models--"
_MAIN = "main"
_LONGEST_REF = 256  # bytes; a commit and a line end take 41
_MOST_REFS = 1000
"""Of a repository; there is one for each branch, tag and pull request that was downloaded by its name."""
_MOST_REPOSITORIES = 10_000
"""Models in the cache that are listed; each list looks at the folder of each one."""
_MOST_COMPARED = 100_000
"""Names of folders in the cache that are compared with one; 50 ms."""
_MOST_SNAPSHOTS = 1000
"""Of a repository; there is one for each time it was downloaded after a change."""
_LOOKED_AT = 100
"""Entries of `snapshots`, of which one must be a folder: each request looks for it in each repository."""
_MOST_BLOBS = 2 * MOST_FILES
_PARTIAL = ".incomplete"
_COMMIT = re.compile(r"[\w-]{1,64}", re.ASCII)  # 40 hex digits on the hub; never a path


def hub_cache() -> Path:
    """Return the folder huggingface_hub uses, by its rules but without importing it (0.3 s).

    The environment is read at call time; huggingface_hub reads it once. An empty variable counts as unset, where
    huggingface_hub would use a folder below the current one.
    """
    # os.path, not pathlib: only it expands variables, and the order of steps is huggingface_hub's.
    home = os.environ.get("HF_HOME")
    if not home:
        parent = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")  # noqa: PTH111, PTH118
        home = os.path.join(parent, "huggingface")  # noqa: PTH118
    default = os.path.join(_expand(home), "hub")  # noqa: PTH118
    return Path(_expand(os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or default))


def check_hub_cache() -> Path:
    """Return the folder of the cache, which need not exist.

    Raises `InvalidOption` if a file is in its place, and `NoHomeFolder` if it is below a home folder that is unknown.
    """
    cache = hub_cache()
    if str(cache).startswith("~"):
        raise NoHomeFolder(f"The home folder of the model cache {cache} is unknown. Set HOME or HF_HOME.")
    existing = next((path for path in (cache, *cache.parents) if path_exists(path)), None)
    if existing is not None and not is_folder(existing):
        name = next((each for each in CACHE_VARIABLES if os.environ.get(each)), "cache")
        raise InvalidOption(name, f"{existing} is a file, not a folder, so the cache {cache} cannot exist.")
    return cache


def cache_folder_name(name: str) -> str:
    """Return the folder name of a repository: `models--org--name`."""
    return _PREFIX + name.replace("/", "--")


def repository_name(folder: str) -> str | None:
    """Return the repository in `folder`, None if it is not a model's. The first `--` is the `/`."""
    name = folder.removeprefix(_PREFIX)
    return name.replace("--", "/", 1) if folder.startswith(_PREFIX) and name else None


@dataclass(frozen=True, slots=True)
class Repository:
    """A model repository in the cache. Everything is read on demand, and a damaged file counts as absent."""

    name: str
    path: Path

    def snapshot(self, commit: str) -> Path:
        """Return the folder of a commit's files. It need not exist."""
        return self.path / "snapshots" / commit

    def commits(self) -> tuple[str, ...]:
        """Return the commits whose snapshots exist, sorted; 1,000 at most."""
        return tuple(sorted(entry.name for entry in self._snapshots()))

    def has_snapshots(self) -> bool:
        """Return whether there are any commits."""
        return any(map(_is_folder, _entries(self.path / "snapshots", _LOOKED_AT)))

    def unreadable(self) -> Path | None:
        """Return the folder that this user may not read, so that the snapshots count as absent; None without one."""
        return next(filter(_is_denied, (self.path, self.path / "snapshots")), None)

    def partial_downloads(self) -> tuple[int, ...]:
        """Return the sizes in bytes of partially downloaded files; none for a folder that cannot be read."""
        found: list[tuple[str, int]] = []
        for entry in _entries(self.path / "blobs", _MOST_BLOBS):
            if entry.name.endswith(_PARTIAL):
                with suppress(OSError):  # completed or removed in the meantime
                    found.append((entry.name, entry.stat().st_size))
        return tuple(size for _, size in sorted(found))

    def main(self) -> str | None:
        """Return the commit that the bare name refers to, None if there is none.

        It is that of `refs/main`, even if its files are missing: another snapshot would be another model than the one
        huggingface_hub loads. Without that reference (a download by commit writes none) it is the newest snapshot.
        """
        if main := _read_ref(self.path / "refs" / _MAIN):
            return main
        found = [(entry.stat().st_mtime_ns, entry.name) for entry in self._snapshots()]
        return max(found)[1] if found else None

    def _snapshots(self) -> list[os.DirEntry[str]]:
        return list(filter(_is_folder, _entries(self.path / "snapshots", _MOST_SNAPSHOTS)))

    def refs(self) -> Mapping[str, str]:
        """Return the commit of every branch, tag and pull request that was downloaded by its name, of 1,000 at most."""
        root = self.path / "refs"
        found = {}
        try:
            for name, entry in islice(walk(str(root)), _MOST_REFS):
                if commit := _read_ref(Path(entry.path)):
                    found[name] = commit
        except OSError as error:
            raise_system_limit(error)
        return dict(sorted(found.items()))


def unreadable_cache() -> Path | None:
    """Return the folder that this user may not read, and so none of the cache; None if there is no such folder."""
    cache = hub_cache()
    existing = next((path for path in (cache, *cache.parents) if path_exists(path)), None)
    return existing if existing is not None and _is_denied(existing) else None


def cached_repositories() -> list[Repository]:
    """Return every model repository of the cache, sorted by name; none without a cache, and 10,000 at most."""
    try:
        cache = check_hub_cache()
    except NoHomeFolder:
        return []
    folders = filter(_is_folder, _entries(cache, _MOST_REPOSITORIES))
    found = ((repository_name(entry.name), entry) for entry in folders)
    return sorted(
        (Repository(name, Path(entry.path)) for name, entry in found if name), key=lambda repository: repository.name
    )


def cached_repository(name: str) -> Repository | None:
    """Return the model repository of exactly that name, None if there is none. The cache may have any number of others,
    which are not looked at."""
    folder = _PREFIX + name.replace("/", "--", 1)
    if repository_name(folder) != name or "/" in folder:
        return None
    try:
        path = check_hub_cache() / folder
    except NoHomeFolder:
        return None
    return Repository(name, path) if is_folder(path) and _is_spelled_so(path) else None


def _is_spelled_so(path: Path) -> bool:
    """Return whether an existing path is listed under its very name: a file system may take others for the same."""
    if path.name.isascii() and not path_exists(path.with_name(path.name.swapcase())):
        return True
    try:
        with os.scandir(path.parent) as entries:
            return any(entry.name == path.name for entry in islice(entries, _MOST_COMPARED))
    except OSError as error:
        raise_system_limit(error)
        return False


def _entries(path: Path, most: int) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, none if it cannot be read."""
    try:
        return folder_entries(str(path), most)
    except OSError as error:
        raise_system_limit(error)
        return []


def _is_denied(path: Path) -> bool:
    return path_exists(path) and not os.access(path, os.R_OK | os.X_OK)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link, or one into an unreadable folder, must not hide the others
        return False


def _read_ref(path: Path) -> str:
    """Return the commit in a reference, empty for text that cannot be the name of a snapshot's folder."""
    try:
        text = read_small_file(path, _LONGEST_REF).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if _COMMIT.fullmatch(text) else ""


def _expand(path: str) -> str:
    return os.path.expandvars(os.path.expanduser(path))  # noqa: PTH111
