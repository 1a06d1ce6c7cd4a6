"""The command `mlxk health`: whether the files of models are complete, regardless of what can run them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from mlxk_core.api import Model
from mlxk_core.api.commands import Session, complete_model, json_option
from mlxk_core.api.errors import BrokenModel, MlxkError, ModelNotFound, kind_of
from mlxk_core.api.models import Health, Problem, Resolver, short_name, unreadable_cache
from mlxk_core.api.text import human_size, plural
from mlxk_hub.settings import check_settings
from mlxk_models import inventory
from mlxk_models.entry import Entry, problems_as_json
from mlxk_models.inspect import inspect_model
from mlxk_models.table import Column, Row, show_table

_WRONG = "wrong_checksum"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one model.

    `verified` is None without --verify; `error` is why its checksums could not be compared.
    """

    entry: Entry
    health: Health
    verified: bool | None = None
    error: MlxkError | None = None

    @property
    def name(self) -> str:
        return self.entry.model.name

    @property
    def has_wrong_bytes(self) -> bool:
        return any(problem.code == _WRONG for problem in self.health.problems)


@dataclass(frozen=True, slots=True)
class Report:
    """A finding, its table row and its JSON, computed while errors are still caught."""

    finding: Finding
    row: Row
    as_json: dict[str, Any]


@click.command("health")
@click.argument("model", required=False, shell_complete=complete_model)
@click.option("--verify", is_flag=True, help="Compare every file with the hub's checksum (needs the network).")
@json_option
@click.pass_obj
def health(session: Session, model: str | None, verify: bool) -> dict[str, Any] | None:
    """Check the files of models.

    Of MODEL, or of all. The exit code is 1 if a model is damaged, unfinished or cannot be verified, or if MODEL is not
    found.

    \b
    Examples:
      mlxk health
      mlxk health smollm2
      mlxk health org/name --verify
    """
    resolver = Resolver(session.host)
    models = inventory.all_models(resolver) if model is None else [_find(resolver, model)]
    if verify:
        check_settings()
    reports = [inspect_model(session, each, partial(_report, session, verify)) for each in models]
    if not session.output.json:
        _show(session, reports)
    data = _as_json(reports)
    if model is None and (denied := unreadable_cache()):
        raise MlxkError(f"Permission denied: cannot read {denied}, so models of the cache were not checked.", data=data)
    if error := _error([report.finding for report in reports], data):
        raise error
    return data if session.output.json else None


def _find(resolver: Resolver, name: str) -> Model:
    try:
        return resolver.find(name)
    except ModelNotFound:
        if unfinished := inventory.unfinished_download(resolver, name):
            return unfinished
        raise


def _report(session: Session, verify: bool, entry: Entry) -> Report:
    finding = _check(session, entry, verify)
    return Report(finding, _row(finding), _model_as_json(finding))


def _check(session: Session, entry: Entry, verify: bool) -> Finding:
    model = entry.model
    if not verify or entry.health.problems:
        return Finding(entry, entry.health, False if verify else None)
    if not inventory.was_downloaded(model):
        return Finding(entry, entry.health, False)
    from mlxk_models.checksums import mismatches

    if session.output.stderr_is_terminal:
        session.output.note(f"Comparing {model.name} ({human_size(model.size)}) with the hub's checksums.")
    try:
        wrong = mismatches(model)
    except MlxkError as error:
        return Finding(entry, entry.health, False, error)
    problems = [Problem(_WRONG, f"The content of {name} differs from the hub's checksum.", name) for name in wrong]
    return Finding(entry, Health(tuple(problems)), True)


def _error(found: Sequence[Finding], data: dict[str, Any]) -> MlxkError | None:
    unhealthy = [each for each in found if each.health.problems]
    unverified = [each for each in found if each.error]
    if unhealthy:
        names = [each.name for each in unhealthy]
        text = " ".join(filter(None, (_sentence(unhealthy, len(found)), _remedy(unhealthy))))
        return BrokenModel(text, data=data, models=names)
    if not unverified or (first := unverified[0].error) is None:
        return None
    if len(unverified) == 1:
        return MlxkError(str(first), data=data, kind=kind_of(first), **first.details)
    names = [each.name for each in unverified]
    text = f"{len(names)} of {len(found)} models could not be verified: {', '.join(names)}. The first: {first}"
    return MlxkError(text, data=data, kind=kind_of(first), models=names)


def _sentence(unhealthy: Sequence[Finding], total: int) -> str:
    states = {each.health.state for each in unhealthy}
    state = states.pop() if len(states) == 1 else "damaged or unfinished"
    names = [each.name for each in unhealthy]
    if total == 1:
        return f"`{names[0]}` is {state}."
    return f"{len(names)} of {total} models {'is' if len(names) == 1 else 'are'} {state}: {', '.join(names)}."


def _remedy(unhealthy: Sequence[Finding]) -> str:
    """Return the commands that repair what came from the hub."""
    from_hub = [each for each in unhealthy if inventory.was_downloaded(each.entry.model)]
    if not from_hub:
        return ""
    verify = " --verify" if any(each.has_wrong_bytes for each in from_hub) else ""
    names = " ".join(short_name(each.name) for each in from_hub)
    done = "finish" if all(each.health.unfinished for each in from_hub) else "repair"
    return f"Run `mlxk pull{verify} {names}` to {done} {'it' if len(from_hub) == 1 else 'them'}."


def _show(session: Session, reports: Sequence[Report]) -> None:
    if reports:
        columns = [Column("Name", wraps=20), Column("Revision"), Column("Files"), Column("Runs with")]
        show_table(session.output, columns, [report.row for report in reports])
    states = Counter(report.finding.health.state for report in reports)
    counts = [f"{states['healthy']} healthy", f"{states['damaged']} damaged"]
    if states["unfinished"]:
        counts.append(f"{states['unfinished']} unfinished")
    session.output.line(f"{plural(len(reports), 'model')}: {', '.join(counts)}.")


def _row(each: Finding) -> Row:
    files = "unverified" if each.error else each.health.state
    notes = [problem.message for problem in each.health.problems] or [each.entry.reason or ""]
    if each.error:
        notes.append(str(each.error))
    cells = [each.name, (each.entry.model.revision or "-")[:7], files, each.entry.runs_with or "-"]
    return Row(cells, tuple(filter(None, (*notes, *each.entry.notes))))


def _as_json(reports: Sequence[Report]) -> dict[str, Any]:
    found = [report.finding for report in reports]
    damaged = sum(1 for each in found if each.health.problems)
    return {
        "models": [report.as_json for report in reports],
        "summary": {"total": len(found), "healthy": len(found) - damaged, "unhealthy": damaged},
    }


def _model_as_json(each: Finding) -> dict[str, Any]:
    return {
        "name": each.name,
        "revision": each.entry.model.revision,
        "healthy": each.health.healthy,
        "state": each.health.state,
        "problems": problems_as_json(each.health),
        "notes": list(each.entry.notes),
        "verified": each.verified,
        "runnable": each.entry.runs and not each.has_wrong_bytes,
        "reason": each.health.reason if each.has_wrong_bytes else each.entry.reason,
    }
