"""The command `mlxk rm`: from references to confirmed deletions, in the hub cache only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from mlxk_core.api.commands import Session, complete_model, confirm_deletion, escape_control, json_option
from mlxk_core.api.errors import (
    InvalidOption,
    MlxkError,
    ModelNotFound,
    RevisionNotFound,
    UsageError,
)
from mlxk_core.api.models import (
    NameReference,
    PathReference,
    Resolver,
    cache_folder_name,
    cached_repositories,
    full_name,
    hub_cache,
    in_use,
    parse_reference,
    short_name,
    unreadable_cache,
)
from mlxk_core.api.text import human_size, plural
from mlxk_models import locks
from mlxk_models.deletion import DeletionPlan, plan_deletion


@dataclass(frozen=True, slots=True)
class _Target:
    """A repository to delete, or one commit of it."""

    name: str
    commit: str | None


@click.command("rm")
@click.argument("models", metavar="MODEL[@REVISION]...", nargs=-1, required=True, shell_complete=complete_model)
@click.option("-f", "--force", is_flag=True, help="Do not ask for confirmation; ignore locks and running models.")
@json_option
@click.pass_obj
def rm(session: Session, models: tuple[str, ...], force: bool) -> dict[str, Any] | None:
    """Delete models.

    Deletes all revisions of MODEL from the hub cache, or the one that is named. With -f a name must be complete.
    Nothing is deleted unless all names are found.

    \b
    Examples:
      mlxk rm org/name
      mlxk rm org/name@main
      mlxk rm -f org/one org/two
    """
    resolver = Resolver(session.host)
    targets = [_find(resolver, text) for text in dict.fromkeys(models)]
    if force:
        for text, target in zip(dict.fromkeys(models), targets, strict=True):
            _check_complete(text, target.name)
    deletions = [_Deletion(session, target, force=force) for target in dict.fromkeys(targets)]
    if not force:
        for deletion in deletions:
            deletion.check_unused()
        plans = [deletion.plan for deletion in deletions]
        what = " and ".join(f"{_description(plan)}, {human_size(plan.freed)}" for plan in plans)
        confirm_deletion(session, what, models=[plan.name for plan in plans])
    results = [deletion.execute() for deletion in deletions]
    if not session.output.json:
        return None
    return results[0] if len(results) == 1 else {"models": results}


class _Deletion:
    """One deletion with its lock files."""

    def __init__(self, session: Session, target: _Target, *, force: bool) -> None:
        self._output = session.output
        self._cache, self._folder = hub_cache(), cache_folder_name(target.name)
        self._locks = locks.lock_files(self._cache, self._folder)
        self._held = locks.in_use(self._locks)
        self.plan = plan_deletion(self._cache, target.name, self._cache / self._folder, target.commit)

    def check_unused(self) -> None:
        """Raise `MlxkError` if the model is being downloaded, or if another process has loaded it."""
        name = self.plan.name
        if self._held:
            raise MlxkError(
                f"`{name}` is being downloaded by another process ({self._held[0].name} is locked). Stop that process, "
                "or use -f to delete anyway.",
                model=name,
                locks=[str(path) for path in self._held],
            )
        if any(in_use(self.plan.folder / "snapshots" / commit) for commit in self.plan.revisions):
            raise MlxkError(
                f"`{name}` is in use by another mlxk process. Stop that process, or use -f to delete anyway.",
                model=name,
                reason="in_use",
            )

    def execute(self) -> dict[str, Any]:
        """Delete, report, and return the result for `--json`."""
        plan = self.plan
        plan.execute()
        removed = [path for path in self._locks if path not in self._held] if plan.whole else []
        locks.remove(self._cache, self._folder, removed)
        if not self._output.json:
            self._output.line(f"Deleted {_description(plan)}, {human_size(plan.freed)} freed.")
            for path in self._held:
                self._output.note(f"warning: {path} is locked; a running download will restore files.")
        return {
            "model": plan.name,
            "revisions": list(plan.revisions),
            "whole": plan.whole,
            "freed_bytes": plan.freed,
            "locks_removed": len(removed),
            "locks_held": [str(path) for path in self._held],
        }


def _find(resolver: Resolver, text: str) -> _Target:
    """Return the repository and commit (None: all) that `text` names. Raises `MlxkError` outside of the cache."""
    reference = parse_reference(text)
    if isinstance(reference, PathReference):
        raise UsageError(f"`{text}` is a path; rm deletes from the hub cache only. Delete it yourself.", model=text)
    try:
        model = resolver.find(text)
    except (ModelNotFound, RevisionNotFound) as error:
        # The remains of an interrupted deletion or download are not a model, but they have a name.
        left = error.details.get("model") if isinstance(error, RevisionNotFound) else _remains(reference)
        if reference.variant is not None:
            raise _not_a_revision(text) from error
        if reference.revision is None and left:
            return _Target(left, None)
        raise
    if model.variant is not None:
        raise _not_a_revision(text)
    if model.origin == "source":
        raise UsageError(
            f"`{model.name}` comes with the source {model.source or 'of a plugin'}, not from the hub cache. Uninstall "
            "the package that provides it.",
            model=model.name,
        )
    if model.origin != "hub":
        raise UsageError(f"`{model.name}` is not in the hub cache.", model=model.name)
    return _Target(model.name, model.revision if reference.revision is not None else None)


def _not_a_revision(text: str) -> InvalidOption:
    return InvalidOption("MODEL", f"rm deletes whole revisions, not variants; remove the part after `:` from `{text}`.")


def _check_complete(text: str, name: str) -> None:
    """Raise `UsageError` for a part of a name: repeated without a question, it would delete the next match."""
    reference = parse_reference(text)
    given = reference.name.casefold() if isinstance(reference, NameReference) else ""
    if name.casefold() not in (given, full_name(given)) and text.partition(":")[2].partition("@")[0] not in (
        name,
        short_name(name),
    ):
        raise UsageError(f"-f needs the full name: `mlxk rm -f {name}`. Nothing was deleted.", model=name)


def _remains(reference: NameReference) -> str | None:
    """Return the repository of exactly that name, even if it has no files left; not if that cannot be known."""
    if unreadable_cache():
        return None
    names = {each.name for each in cached_repositories() if not each.unreadable()}
    return next((name for name in (reference.name, full_name(reference.name)) if name in names), None)


def _description(plan: DeletionPlan) -> str:
    revisions = ", ".join(revision[:7] for revision in plan.revisions)
    name = escape_control(plan.name)
    if not plan.revisions:
        return f"the remains of {name}"
    if plan.whole:
        return f"{name} ({plural(len(plan.revisions), 'revision')}: {revisions})"
    return f"revision {revisions} of {name}"
