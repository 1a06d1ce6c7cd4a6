"""Revisions of a cached repository: from a branch, a tag or the beginning of a commit to its files."""

from __future__ import annotations

import re
from itertools import islice

from mlxk_core._errors import AmbiguousModel, RevisionNotFound
from mlxk_core._models.cache import Repository
from mlxk_core._models.model import Model

_SHORT = 7
_MOST_SPELLED = 20
_COMMIT = re.compile(r"[0-9a-f]{1,40}")


def snapshot_at(repository: Repository, commit: str) -> Model:
    """Return the model of one commit."""
    return Model(name=repository.name, path=repository.snapshot(commit), origin="hub", revision=commit)


def local_commit(repository: Repository, revision: str | None) -> str:
    """Return the commit that `revision` means (None: the main one). Raises unless its files are in the cache."""
    if revision is None:
        main = repository.main()
        if main and repository.snapshot(main).is_dir():
            return main
        raise RevisionNotFound(
            f"The files of `{repository.name}` at its current revision {(main or '')[:_SHORT]} are missing. Local "
            f"revisions: {_spelled_revisions(repository)}. Run `mlxk pull {repository.name}` to download it.",
            model=repository.name,
            revision=main,
            available=list(repository.commits()),
        )
    commits = local_commits(repository, revision)
    if len(commits) > 1:
        raise AmbiguousModel(
            f"{repository.name}@{revision}",
            [f"{repository.name}@{commit[:12]}" for commit in commits],
            what="revisions",
        )
    if not commits:
        raise RevisionNotFound(
            f"`{repository.name}` has no local revision `{revision}`. Local revisions: "
            f"{_spelled_revisions(repository)}. Run `mlxk pull {repository.name}@{revision}` to download it.",
            model=repository.name,
            revision=revision,
            available=list(repository.commits()),
        )
    return commits[0]


def local_commits(repository: Repository, revision: str) -> list[str]:
    """Return the local commits that `revision` may mean: a branch or tag, or the beginning of a commit."""
    prefix = revision.lower()
    is_prefix = _COMMIT.fullmatch(prefix) is not None
    named = repository.refs().get(revision) or (prefix if is_prefix else None)
    if named and repository.snapshot(named).is_dir():
        return [named]
    return [commit for commit in repository.commits() if commit.startswith(prefix)] if is_prefix else []


def _spelled_revisions(repository: Repository) -> str:
    names: dict[str, list[str]] = {commit: [] for commit in repository.commits()}
    for ref, commit in repository.refs().items():
        if commit in names:
            names[commit].append(ref)
    spelled = [" = ".join([*refs, commit[:_SHORT]]) for commit, refs in islice(names.items(), _MOST_SPELLED)]
    return ", ".join([*spelled, "…"] if len(names) > len(spelled) else spelled)
