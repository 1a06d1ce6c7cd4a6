"""`mlxk rm`: from a reference to a deletion that was agreed to, of the hub cache and nothing else."""

from __future__ import annotations

import sys
from typing import Any

import click

from mlxk_core.api.commands import Session, json_option
from mlxk_core.api.errors import Interrupted, InvalidOption, MlxkError, ModelNotFound, RevisionNotFound, UsageError
from mlxk_core.api.models import (
    NameReference,
    PathReference,
    Resolver,
    cache_folder_name,
    cached_repositories,
    hub_cache,
    parse_reference,
)
from mlxk_models import humanize, locks
from mlxk_models.deletion import Plan, plan

_OWNER = "mlx-community/"


@click.command("rm")
@click.argument("model", metavar="MODEL[@REVISION]")
@click.option("-f", "--force", is_flag=True, help="Ask nothing, and take no notice of locks.")
@json_option
@click.pass_obj
def rm(session: Session, model: str, force: bool) -> dict[str, Any] | None:
    """Delete a model, or one revision of it.

    Of MODEL all revisions leave the hub cache, of MODEL@REVISION that one. With -f the name must be whole.
    """
    name, revision = _chosen(Resolver(session.host), model)
    if force:
        _refuse_part(name, model)
    cache = hub_cache()
    lock_files = locks.lock_files(cache, cache_folder_name(name))
    held = locks.held(lock_files)
    if held and not force:
        raise MlxkError(
            f"Another process is downloading `{name}` ({held[0].name} is locked). Wait for it or end it, or delete "
            "nevertheless with -f.",
            model=name,
            locks=[str(path) for path in held],
        )
    deletion = plan(cache, name, cache / cache_folder_name(name), revision)
    if not force:
        _ask(session, deletion)
    deletion.execute()
    removed = [path for path in lock_files if path not in held] if deletion.whole else []
    locks.remove(cache, cache_folder_name(name), removed)
    if session.output.json:
        return {
            "model": name,
            "revisions": list(deletion.revisions),
            "whole": deletion.whole,
            "freed_bytes": deletion.freed,
            "locks_removed": len(removed),
            "locks_held": [str(path) for path in held],
        }
    session.output.line(f"Deleted {_described(deletion)}, {humanize.size(deletion.freed)} freed.")
    for path in held:
        session.output.note(f"{path} is locked: a download that still runs will put files back.")
    return None


def _chosen(resolver: Resolver, text: str) -> tuple[str, str | None]:
    """The repository that is meant, and the commit (None: all of it). Never what is not the cache's."""
    reference = parse_reference(text)
    if isinstance(reference, PathReference):
        raise UsageError(f"rm deletes from the hub cache only, and `{text}` is a path. Delete it yourself.", model=text)
    if reference.variant is not None:
        raise InvalidOption("MODEL", f"rm deletes whole revisions; leave out `:{reference.variant}`")
    try:
        model = resolver.find(text)
    except (ModelNotFound, RevisionNotFound) as error:
        # What a half-done deletion or download leaves is no model any more, but it has a name.
        left = error.details.get("model") if isinstance(error, RevisionNotFound) else _left_over(reference)
        if reference.revision is None and left:
            return left, None
        raise
    if model.origin == "source":
        raise UsageError(
            f"`{model.name}` is offered by the source {model.source or 'of a plugin'}, not by the hub cache. "
            "It goes away with the package that brings it.",
            model=model.name,
        )
    if model.origin != "hub":
        raise UsageError(f"`{model.name}` is not in the hub cache.", model=model.name)
    return model.name, model.revision if reference.revision is not None else None


def _refuse_part(name: str, text: str) -> None:
    """Where nothing is asked, a part of a name will not do: the same command run twice would take the next model that
    holds the part."""
    reference = parse_reference(text)
    given = reference.name.casefold() if isinstance(reference, NameReference) else ""
    if name.casefold() not in (given, _OWNER + given):
        raise UsageError(
            f"`{given}` is only a part of `{name}`, and -f asks nothing. Nothing was deleted: write the whole name.",
            model=name,
        )


def _left_over(reference: NameReference) -> str | None:
    """The repository of exactly that name, however little of it is left."""
    here = {each.name for each in cached_repositories()}
    return next((name for name in (reference.name, _OWNER + reference.name) if name in here), None)


def _ask(session: Session, deletion: Plan) -> None:
    what = f"{_described(deletion)}, {humanize.size(deletion.freed)}"
    if session.output.json or not (sys.stdin.isatty() and session.output.stderr_is_terminal):
        raise UsageError(f"This would delete {what}. Nothing was deleted: say so with -f.", model=deletion.name)
    try:
        agreed = click.confirm(f"Delete {what}?", err=True)
    except click.Abort:  # Ctrl-C or Ctrl-D
        raise Interrupted("Nothing was deleted.") from None
    if not agreed:
        raise MlxkError("Nothing was deleted.", model=deletion.name)


def _described(deletion: Plan) -> str:
    revisions = ", ".join(revision[:7] for revision in deletion.revisions)
    if not deletion.revisions:
        return f"what is left of {deletion.name}"
    if deletion.whole:
        return f"{deletion.name} ({humanize.count(len(deletion.revisions), 'revision')}: {revisions})"
    return f"revision {revisions} of {deletion.name}"
