"""Deletion of a repository of the cache, or of one of its revisions.

Only that repository is read, so a damaged one elsewhere in the cache does not matter. huggingface_hub executes the
deletion, because it knows the store of files that repositories share.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlxk_core.api.errors import MlxkError
from mlxk_core.api.models import read_small_file
from mlxk_core.api.paths import is_file

if TYPE_CHECKING:
    from huggingface_hub import DeleteCacheStrategy

_PAUSE = 0.1  # seconds
_LISTED_IN = ".refs"  # suffix of the list of links to a file of the shared store


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionPlan:
    """A deletion to confirm. `freed` is in bytes; `whole`: nothing of the repository remains."""

    name: str
    folder: Path
    revisions: tuple[str, ...]
    whole: bool
    freed: int
    strategy: DeleteCacheStrategy

    def execute(self) -> None:
        """Delete. Raises `MlxkError` if something remains; another process may delete the same at the same time."""
        # huggingface_hub logs failures with a traceback and goes on; they are raised below.
        logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
        initial = previous = self._count()
        failure: OSError | None = None
        while remaining := self._remaining():
            try:
                self.strategy.execute()
            except OSError as error:
                failure = error
            now = self._count()
            if now == previous:  # no progress, by us or by another process
                break
            previous = now
            time.sleep(_PAUSE)
        if remaining := self._remaining():
            raise self._error(remaining[0], failure, unchanged=self._count() == initial)

    @property
    def _paths(self) -> list[Path]:
        strategy = self.strategy
        return [*strategy.repos, *strategy.snapshots, *strategy.refs, *strategy.blobs]

    def _remaining(self) -> list[Path]:
        return [path for path in self._paths if os.path.lexists(path)]

    def _count(self) -> int:
        """Return the number of files and links that are to be deleted and still exist."""
        return sum(1 for path in self._paths for _ in _entries(path))

    def _error(self, path: Path, failure: OSError | None, *, unchanged: bool) -> MlxkError:
        if _is_read_only(path):
            why = "the disk is read-only"
        elif failure is not None and failure.strerror:
            why = failure.strerror
        else:
            why = "permission denied" if not os.access(path.parent, os.W_OK) or _has_locked_folder(path) else "in use"
        state = "Nothing was deleted." if unchanged else "It was deleted in part; run the same command again to finish."
        return MlxkError(
            f"Cannot delete `{self.name}`: {path}: {why}. {state}",
            model=self.name,
            left=[str(each) for each in self._remaining()],
        )


def plan_deletion(cache: Path, name: str, folder: Path, revision: str | None) -> DeletionPlan:
    """Return the deletion of repository `name` in `folder`, or of one commit; of all of it with the last commit."""
    cache, folder = cache.resolve(), cache.resolve() / folder.name
    local = _commits(folder)
    chosen = tuple(local) if revision is None else (revision,)
    whole = set(chosen) >= set(local)
    if whole:
        strategy = _strategy(cache, repos={folder})
        # If the folder is a link, only the link is deleted and its target stays.
        freed = 0 if _is_link(folder) else sum(_sizes(_entries(folder))) + _freed_in_store(cache, folder)
    else:
        kept = {blob for each in local if each not in chosen for blob in _blobs(folder / "snapshots" / each)}
        blobs = {blob for each in chosen for blob in _blobs(folder / "snapshots" / each)}
        blobs = {blob for blob in blobs if blob not in kept and blob.parent == folder / "blobs"}
        refs = {path for path in _entries(folder / "refs") if _text(path) in chosen}
        snapshots = {folder / "snapshots" / each for each in chosen}
        strategy = _strategy(cache, snapshots=snapshots, refs=refs, blobs=blobs)
        freed = sum(_sizes(blobs))
    return DeletionPlan(name=name, folder=folder, revisions=chosen, whole=whole, freed=freed, strategy=strategy)


def _commits(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in (folder / "snapshots").iterdir() if path.is_dir())
    except OSError:
        return []


def _strategy(
    cache: Path,
    *,
    repos: Collection[Path] = (),
    snapshots: Collection[Path] = (),
    refs: Collection[Path] = (),
    blobs: Collection[Path] = (),
) -> DeleteCacheStrategy:
    from huggingface_hub import DeleteCacheStrategy

    return DeleteCacheStrategy(
        expected_freed_size=0,
        repos=frozenset(repos),
        snapshots=frozenset(snapshots),
        refs=frozenset(refs),
        blobs=frozenset(blobs),
        cache_dir=cache,
    )


def _blobs(snapshot: Path) -> Iterator[Path]:
    """Yield the direct targets of a snapshot's links; those may be links into the store that repositories share."""
    for path in _entries(snapshot):
        if _is_link(path):
            yield Path(os.path.normpath(path.parent / path.readlink()))


def _freed_in_store(cache: Path, folder: Path) -> int:
    """Return the bytes of shared files that only this repository uses, by huggingface_hub's lists of their links."""
    freed = 0
    for blob in _entries(folder / "blobs"):
        target = Path(os.path.normpath(blob.parent / blob.readlink())) if _is_link(blob) else None
        if target is None or not target.is_relative_to(cache / "blobs"):
            continue
        try:
            links = read_small_file(target.with_name(target.name + _LISTED_IN)).decode().split("\n")
            others = [cache / link for link in links if link and not link.startswith(f"{folder.name}/")]
            if not any(map(_is_link, others)):
                freed += target.stat().st_size
        except (OSError, UnicodeDecodeError):  # huggingface_hub keeps a file without a list
            continue
    return freed


def _entries(path: Path) -> Iterator[Path]:
    """Yield the files and links at or below `path`; what disappears meanwhile or cannot be read is skipped."""
    if _is_link(path) or is_file(path):
        yield path
        return
    for folder, folders, names in os.walk(path):
        yield from (Path(folder) / name for name in names)
        yield from (link for name in folders if _is_link(link := Path(folder) / name))


def _is_link(path: Path) -> bool:
    return os.path.islink(path)  # noqa: PTH114 - pathlib raises in a folder that may not be read


def _sizes(paths: Iterable[Path]) -> Iterator[int]:
    for path in paths:
        try:
            if not _is_link(path):
                yield path.stat().st_size
        except OSError:  # deleted meanwhile
            continue


def _is_read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _has_locked_folder(path: Path) -> bool:
    folders = [path, *(Path(parent, name) for parent, names, _ in os.walk(path) for name in names)]
    return any(not os.access(folder, os.R_OK | os.W_OK | os.X_OK) for folder in folders)


def _text(path: Path) -> str:
    try:
        return read_small_file(path).decode("ascii").strip()  # not a pipe, which may have no writer
    except (OSError, UnicodeDecodeError):
        return ""
