"""What a deletion takes away, planned with huggingface_hub, also when it refuses to read a half-deleted repository."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlxk_core.api.errors import MlxkError

if TYPE_CHECKING:
    from huggingface_hub import DeleteCacheStrategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A deletion to be agreed to. `freed` is in bytes; `whole` takes the repository away with everything in it."""

    name: str
    folder: Path
    revisions: tuple[str, ...]
    whole: bool
    freed: int
    strategy: DeleteCacheStrategy

    def execute(self) -> None:
        """Deletes; raises when something is still there afterwards (huggingface_hub only logs that)."""
        import logging

        logging.getLogger("huggingface_hub").setLevel(
            logging.ERROR
        )  # it would log what is raised below, with a traceback
        failure = ""
        try:
            self.strategy.execute()
        except OSError as error:
            failure = f" ({error.strerror})"
        paths = [*self.strategy.repos, *self.strategy.snapshots, *self.strategy.refs, *self.strategy.blobs]
        left = [path for path in paths if os.path.lexists(path)]
        if left:
            raise MlxkError(
                f"`{self.name}` was deleted in part only: {left[0]} could not be removed{failure}. "
                "See who owns it, then run the same command again.",
                model=self.name,
                left=[str(path) for path in left],
            )


def plan(cache: Path, name: str, folder: Path, revision: str | None) -> Plan:
    """The deletion of repository `name` in `folder`, or of one commit of it. Where that is its last, all of it goes."""
    from huggingface_hub import scan_cache_dir

    cache, folder = cache.resolve(), cache.resolve() / folder.name
    try:
        info = scan_cache_dir(cache)
    except OSError:  # some other repository may not be read
        info, known = None, None
    else:
        known = next((repo for repo in info.repos if repo.repo_path == folder), None)
    here = _commits(folder)
    chosen = tuple(here) if revision is None else (revision,)
    whole = set(chosen) >= set(here)
    if info and known and chosen:
        # Only this repository is searched: two that hold the same commit (a copy, a fork) look alike to the hub's API.
        strategy = replace(info, repos=frozenset({known})).delete_revisions(*chosen)
    elif whole:
        strategy = _strategy(cache, 0, repos={folder})
    else:
        strategy = _damaged(cache, folder, chosen[0])
    freed = strategy.expected_freed_size
    if whole:
        counted = {file.blob_path for revision in known.revisions for file in revision.files} if known else set()
        freed += sum(_own_sizes(folder, counted))
    if folder.is_symlink():  # only the link goes; what it leads to stays where somebody has put it
        freed = 0
    return Plan(name=name, folder=folder, revisions=chosen, whole=whole, freed=freed, strategy=strategy)


def _commits(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in (folder / "snapshots").iterdir() if path.is_dir())
    except OSError:
        return []


def _damaged(cache: Path, folder: Path, commit: str) -> DeleteCacheStrategy:
    """One commit of a repository that huggingface_hub cannot read (a dangling reference or link elsewhere in it)."""
    snapshot = folder / "snapshots" / commit
    kept = {blob for each in _commits(folder) if each != commit for blob in _blobs(folder / "snapshots" / each)}
    blobs = {blob for blob in _blobs(snapshot) if blob not in kept and blob.parent == folder / "blobs"}
    refs = {path for path in (folder / "refs").rglob("*") if path.is_file() and _text(path) == commit}
    return _strategy(cache, sum(_sizes(blobs)), snapshots={snapshot}, refs=refs, blobs=blobs)


def _strategy(
    cache: Path,
    freed: int,
    *,
    repos: Collection[Path] = (),
    snapshots: Collection[Path] = (),
    refs: Collection[Path] = (),
    blobs: Collection[Path] = (),
) -> DeleteCacheStrategy:
    from huggingface_hub import DeleteCacheStrategy

    return DeleteCacheStrategy(
        expected_freed_size=freed,
        repos=frozenset(repos),
        snapshots=frozenset(snapshots),
        refs=frozenset(refs),
        blobs=frozenset(blobs),
        cache_dir=cache,
    )


def _blobs(snapshot: Path) -> Iterator[Path]:
    """Where the links of a snapshot lead, one step far: the next one may be the store that repositories share."""
    for path in snapshot.rglob("*"):
        if path.is_symlink():
            yield Path(os.path.normpath(path.parent / path.readlink()))


def _own_sizes(folder: Path, counted: Collection[Path]) -> Iterator[int]:
    """Bytes of the repository's files beyond those already `counted`: partial downloads, and what nothing links to."""
    return _sizes(path for path in folder.rglob("*") if path not in counted)


def _sizes(paths: Iterable[Path]) -> Iterator[int]:
    for path in paths:
        if path.is_file() and not path.is_symlink():
            yield path.stat().st_size


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
