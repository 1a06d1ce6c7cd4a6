"""`mlxk health`: are the files of models whole, apart from whether anything here could run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from mlxk_core.api import Model
from mlxk_core.api.commands import Session, json_option
from mlxk_core.api.errors import BrokenModel, MlxkError, ModelNotFound, kind_of
from mlxk_core.api.models import Health, Problem, Resolver
from mlxk_models import humanize, inventory
from mlxk_models.entry import Entry, problems_as_json
from mlxk_models.inspect import examined
from mlxk_models.table import Column, Row, show_table

_WRONG = "wrong_checksum"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one model. `verified` is None unless checksums were asked for; `refusal` says why they could not
    be compared."""

    entry: Entry
    health: Health
    verified: bool | None = None
    refusal: MlxkError | None = None

    @property
    def name(self) -> str:
        return self.entry.model.name

    @property
    def has_wrong_bytes(self) -> bool:
        return any(problem.code == _WRONG for problem in self.health.problems)


@dataclass(frozen=True, slots=True)
class Look:
    """A finding, and what is shown of it: whatever could fail has been asked for."""

    finding: Finding
    row: Row
    as_json: dict[str, Any]


@click.command("health")
@click.argument("model", required=False)
@click.option("--verify", is_flag=True, help="Also compare every file with the hub's checksum (needs the network).")
@json_option
@click.pass_obj
def health(session: Session, model: str | None, verify: bool) -> dict[str, Any] | None:
    """Check the files of models.

    Of MODEL, or of all. The exit code is 1 if any is damaged or cannot be verified, or if MODEL is not here.
    """
    resolver = Resolver(session.host)
    models = inventory.every(resolver) if model is None else [_find(resolver, model)]
    looks = [examined(session, each, partial(_look, session, verify)) for each in models]
    found = [look.finding for look in looks]
    if not session.output.json:
        _show(session, looks)
    data = _as_json(looks)
    if error := _error(found):
        error.data = data
        raise error
    return data if session.output.json else None


def _find(resolver: Resolver, name: str) -> Model:
    try:
        return resolver.find(name)
    except ModelNotFound:
        if only_begun := inventory.begun(resolver, name):
            return only_begun
        raise


def _look(session: Session, verify: bool, entry: Entry) -> Look:
    finding = _check(session, entry, verify)
    return Look(finding, _row(finding), _model_as_json(finding))


def _check(session: Session, entry: Entry, verify: bool) -> Finding:
    model = entry.model
    if not verify or entry.health.problems:
        return Finding(entry, entry.health, False if verify else None)
    if model.origin != "hub":
        return Finding(entry, entry.health, False)  # no hub knows its files
    from mlxk_models.checksums import mismatches

    if session.output.stderr_is_terminal:
        session.output.note(f"Comparing {model.name} ({humanize.size(model.size)}) with the hub's checksums.")
    try:
        wrong = mismatches(model)
    except MlxkError as refusal:
        return Finding(entry, entry.health, False, refusal)
    problems = [Problem(_WRONG, f"{name} is not what the hub has.", name) for name in wrong]
    return Finding(entry, Health(tuple(problems)), True)


def _error(found: Sequence[Finding]) -> MlxkError | None:
    damaged = [each for each in found if each.health.problems]
    refused = [each for each in found if each.refusal]
    if damaged:
        told = _sentence([each.name for each in damaged], len(found), "damaged")
        return BrokenModel(f"{told}.{_remedy(damaged)}", models=[each.name for each in damaged])
    if len(refused) == 1:
        return refused[0].refusal
    if refused and (first := refused[0].refusal):
        told = _sentence([each.name for each in refused], len(found), "not verified")
        error = MlxkError(f"{told}. Of the first: {first}", models=[each.name for each in refused])
        error.kind = kind_of(first)
        return error
    return None


def _sentence(names: Sequence[str], total: int, state: str) -> str:
    if total == 1:
        return f"`{names[0]}` is {state}"
    return f"{len(names)} of {total} models {'is' if len(names) == 1 else 'are'} {state}: {', '.join(names)}"


def _remedy(damaged: Sequence[Finding]) -> str:
    if not any(each.entry.model.origin == "hub" for each in damaged):
        return ""
    changed = any(each.has_wrong_bytes for each in damaged)
    return f" `mlxk pull{' --verify' if changed else ''} MODEL` repairs what came from the hub."


def _show(session: Session, looks: Sequence[Look]) -> None:
    found = [look.finding for look in looks]
    if found:
        columns = [Column("Name", wraps=20), Column("Revision"), Column("Files"), Column("Runs with")]
        show_table(session.output, columns, [look.row for look in looks])
    healthy = sum(1 for each in found if each.health.healthy)
    session.output.line(f"{humanize.count(len(found), 'model')}: {healthy} healthy, {len(found) - healthy} damaged.")


def _row(each: Finding) -> Row:
    files = "unverified" if each.refusal else humanize.state(each.health)
    told = [problem.message for problem in each.health.problems] or [each.entry.reason or ""]
    if each.refusal:
        told.append(str(each.refusal))
    cells = [each.name, (each.entry.model.revision or "-")[:7], files, each.entry.runs_with or "-"]
    return Row(cells, tuple(filter(None, (*told, *each.entry.notes))))


def _as_json(looks: Sequence[Look]) -> dict[str, Any]:
    found = [look.finding for look in looks]
    damaged = sum(1 for each in found if each.health.problems)
    return {
        "models": [look.as_json for look in looks],
        "summary": {"total": len(found), "healthy": len(found) - damaged, "unhealthy": damaged},
    }


def _model_as_json(each: Finding) -> dict[str, Any]:
    return {
        "name": each.name,
        "revision": each.entry.model.revision,
        "healthy": each.health.healthy,
        "problems": problems_as_json(each.health),
        "notes": list(each.entry.notes),
        "verified": each.verified,
        "runnable": each.entry.runs and not each.has_wrong_bytes,
        "reason": each.health.reason if each.has_wrong_bytes else each.entry.reason,
    }
