"""The command `mlxk pull`: preflight, download, and what is said about them."""

from __future__ import annotations

from typing import Any

import click

from mlxk_core.api.commands import Output, Session, escape_control, json_option
from mlxk_core.api.errors import AccessDenied, BrokenModel, HubUnavailable, Interrupted, MlxkError, RevisionNotFound
from mlxk_core.api.models import check_health
from mlxk_hub.client import HubClient, RemoteFile
from mlxk_hub.errors import NotOnHub
from mlxk_hub.retry import RetryPolicy
from mlxk_pull.checksums import changed
from mlxk_pull.cleanup import remove_parts
from mlxk_pull.download import fetch, to_fetch
from mlxk_pull.local_state import Place
from mlxk_pull.preflight import Plan, check_space, preflight
from mlxk_pull.progress import progress, spelled
from mlxk_pull.selection import Filter
from mlxk_pull.target import Wanted, wanted

_NOTHING = "Nothing was written."


@click.command("pull")
@click.argument("model")
@click.option("--include", metavar="GLOB", multiple=True, help="Take the files that match instead (repeatable).")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Leave out the files that match (repeatable).")
@click.option("--dry-run", is_flag=True, help="Show what would be downloaded; write nothing.")
@click.option("--verify", is_flag=True, help="Compare every file's checksum with the hub's, and repair what differs.")
@click.option("--force", is_flag=True, help="Download every file again, whatever is here.")
@json_option
@click.pass_obj
def pull(
    session: Session,
    model: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    dry_run: bool,
    verify: bool,
    force: bool,
) -> dict[str, Any]:
    """Download a model from the hub, or repair it.

    MODEL is `org/name`, with `@REVISION` (a branch, a tag, a whole commit) and `:VARIANT` (of GGUF files) where needed.
    A name without an owner is one of mlx-community. A model is its MLX or safetensors weights, or one GGUF variant,
    with its config and tokenizer.
    """
    output = session.output
    asked = wanted(model)
    if source := _source_of(session, model):
        _say(output, f"`{model}` comes with the source {source}: there is nothing to pull.")
        return {"model": model, "status": "already_there", "source": source}
    if "/" not in model:
        _note(output, f"`{model}` has no owner, so it means {asked.repository}.")
    filter = Filter(include, exclude)
    try:
        plan, again = _preflight(output, asked, filter, verify=verify, force=force)
        if plan is not None and dry_run:
            return _dry_run(output, plan, again)
        if plan is not None and (again or plan.held.missing):
            check_space(plan, sum(to_fetch(plan, again).values()))
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped. {_NOTHING}") from None
    except MlxkError as error:
        error.args = (f"{error} {_NOTHING}",)
        raise
    except PermissionError as error:
        raise MlxkError(f"{error.filename} may not be read. {_NOTHING}", reason="not_readable") from error
    if plan is None:
        return _here_without_hub(output, asked, "dry_run" if dry_run else "already_there")
    return _have(output, plan, again, filter, verify=verify, repairing=_is_repair(plan, again, force))


def _preflight(
    output: Output, asked: Wanted, filter: Filter, *, verify: bool, force: bool
) -> tuple[Plan | None, tuple[RemoteFile, ...]]:
    """The plan, and the files to download although they are here. No plan: the hub does not answer or refuses, and a
    healthy copy is here."""
    copy = _healthy_copy(asked)
    content_with_copy = copy and filter.is_default and not verify and not force
    patience = RetryPolicy(waiting=lambda text: _note(output, text))
    client = HubClient(RetryPolicy(tries=1) if content_with_copy else patience)
    try:
        plan = preflight(client, asked, filter)
    except (AccessDenied, HubUnavailable, NotOnHub, RevisionNotFound) as error:
        if not content_with_copy:
            raise
        _note(output, f"The hub was asked for a newer revision: {error}")
        return None, ()
    if force:
        return plan, plan.files
    again = plan.held.broken
    if plan.complete and (verify or not _is_healthy(plan)):
        if verify:
            _note(output, "Comparing checksums.")
        again = changed(plan)
    return plan, again


def _have(
    output: Output, plan: Plan, again: tuple[RemoteFile, ...], filter: Filter, *, verify: bool, repairing: bool
) -> dict[str, Any]:
    if plan.complete and not again:
        plan.place.remember(plan.wanted.revision, plan.commit)
        _clear_parts(output, plan.place)
        _check_health(plan, filter)
        _say(output, f"{plan.name} is here already, and healthy{', checksums too' if verify else ''}.")
        return _data(plan, "already_there", verified=verify or None)
    blobs = to_fetch(plan, again)
    verb = "Repairing" if repairing else "Downloading"
    _note(output, f"{verb} {plan.name}: {_amount(plan, sum(blobs.values()))}.")
    with progress(output, plan.wanted.repository, sum(blobs.values())) as shown:
        fetch(plan, again, shown)
        if verify:
            shown.note("Comparing checksums.")
            if differing := changed(plan):
                fetch(plan.looked_at_again(), differing, shown)
                _refuse_changed(plan)
    plan = plan.looked_at_again()
    _check_health(plan, filter)
    status = "repaired" if repairing else "downloaded"
    _say(output, f"{plan.name} is {status}: {len(plan.files)} files, {spelled(plan.size)}.")
    return _data(plan, status, downloaded=sum(blobs.values()), again=again, verified=verify or None)


def _is_repair(plan: Plan, again: tuple[RemoteFile, ...], force: bool) -> bool:
    """Something was here and is damaged: files to have anew, or links that are gone while all they led to is here."""
    only_links = not to_fetch(plan, again) and plan.place.snapshot(plan.commit).is_dir()
    return not force and (bool(again) or only_links)


def _clear_parts(output: Output, place: Place) -> None:
    if removed := remove_parts(place.blobs, place.locks):
        parts = "1 part" if removed == 1 else f"{removed} parts"
        _note(output, f"Removed {parts} of a download that did not finish.")


def _dry_run(output: Output, plan: Plan, again: tuple[RemoteFile, ...]) -> dict[str, Any]:
    blobs = to_fetch(plan, again)
    check_space(plan, sum(blobs.values()))
    if not output.json:
        for file in plan.files:
            mark = "download" if file.digest in blobs else "here"
            output.line(f"{spelled(file.size):>9}  {mark:8}  {escape_control(file.name)}")
    if blobs:
        _say(output, f"{plan.name} would be downloaded: {_amount(plan, sum(blobs.values()))}.")
    else:
        _say(output, f"{plan.name} is here already: nothing would be downloaded.")
    return _data(plan, "dry_run", downloaded=sum(blobs.values()), again=again, verified=None)


def _here_without_hub(output: Output, asked: Wanted, status: str) -> dict[str, Any]:
    """What a pull does, and what a dry run foretells, where the hub is silent: the healthy copy stays as it is."""
    place = Place.of(asked.repository)
    commit = place.commit(asked.revision)
    assert commit is not None  # the healthy copy is of this commit
    if status != "dry_run":
        _clear_parts(output, place)
    _say(output, f"{asked.reference} ({commit[:7]}) is here already, and healthy.")
    model = place.model(commit, asked.variant)
    return {
        "model": asked.repository,
        "revision": commit,
        "variant": asked.variant,
        "status": status,
        "path": str(model.path),
        "size_bytes": model.size,
        "downloaded_bytes": 0,
        "files": [{"name": file.name, "size_bytes": file.size, "download": False} for file in model.files],
        "verified": None,
    }


def _healthy_copy(asked: Wanted) -> bool:
    place = Place.of(asked.repository)
    commit = place.commit(asked.revision)
    return (
        commit is not None
        and place.snapshot(commit).is_dir()
        and check_health(place.model(commit, asked.variant)).healthy
    )


def _is_healthy(plan: Plan) -> bool:
    return check_health(plan.place.model(plan.commit, plan.wanted.variant)).healthy


def _check_health(plan: Plan, filter: Filter) -> None:
    """Refuses to call a model fine that is not, unless it was the user who left out what it lacks."""
    if not filter.is_default:
        return
    health = check_health(plan.place.model(plan.commit, plan.wanted.variant))
    if not health.healthy:
        error = BrokenModel(
            f"`{plan.wanted.reference}` is here as the hub has it, and is broken there too: "
            f"{'; '.join(problem.message for problem in health.problems)}",
            model=plan.wanted.repository,
            revision=plan.commit,
        )
        error.data = _data(plan, "downloaded")
        raise error


def _refuse_changed(plan: Plan) -> None:
    if differing := changed(plan):
        names = ", ".join(file.name for file in differing)
        raise BrokenModel(
            f"`{plan.wanted.reference}`: the hub sends other contents than its own checksums say: {names}.",
            model=plan.wanted.repository,
            revision=plan.commit,
            files=[file.name for file in differing],
        )


def _source_of(session: Session, name: str) -> str | None:
    for spec, source in session.host.model_sources():
        if name in source.names() and source.find(name) is not None:
            return spec.name
    return None


def _amount(plan: Plan, needed: int) -> str:
    if not needed:
        return "only links are missing, and nothing is downloaded"
    return f"{spelled(needed)} of {spelled(plan.size)}, the rest is here" if needed < plan.size else spelled(needed)


def _data(
    plan: Plan,
    status: str,
    *,
    downloaded: int = 0,
    again: tuple[RemoteFile, ...] = (),
    verified: bool | None = None,
) -> dict[str, Any]:
    fetched = to_fetch(plan, again) if status == "dry_run" else {}
    return {
        "model": plan.wanted.repository,
        "revision": plan.commit,
        "variant": plan.wanted.variant,
        "status": status,
        "path": str(plan.place.snapshot(plan.commit)),
        "size_bytes": plan.size,
        "downloaded_bytes": downloaded,
        "files": [
            {"name": file.name, "size_bytes": file.size, "download": file.digest in fetched} for file in plan.files
        ],
        "verified": verified,
    }


def _note(output: Output, text: str) -> None:
    if not output.json:
        output.note(text)


def _say(output: Output, text: str) -> None:
    if not output.json:
        output.line(text)
