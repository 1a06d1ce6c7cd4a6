"""`mlxk health`: are the files of models whole, apart from whether anything here could run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from mlxk_core.errors import BrokenModel
from mlxk_core.models.health import Health, Problem
from mlxk_core.models.resolve import Resolver
from mlxk_core.session import Session, json_option
from mlxk_models import words
from mlxk_models.entry import Entry, problems_as_json
from mlxk_models.table import Column, show_table


@click.command("health")
@click.argument("model", required=False)
@click.option("--verify", is_flag=True, help="Also compare every file with the hub's checksum (needs the network).")
@json_option
@click.pass_obj
def health(session: Session, model: str | None, verify: bool) -> dict[str, Any] | None:
    """Check the files of models.

    Of MODEL, or of all. The exit code is 1 if any is damaged, or if MODEL is not here.
    """
    resolver = Resolver(session.host)
    models = [resolver.find(model)] if model else resolver.all()
    entries = [Entry(each, session.host) for each in models]
    findings = [_check(entry, verify) for entry in entries]
    damaged = [entry.model.name for entry, found in zip(entries, findings, strict=True) if found.problems]
    data = {
        "models": [_as_json(entry, found) for entry, found in zip(entries, findings, strict=True)],
        "summary": {"total": len(entries), "healthy": len(entries) - len(damaged), "unhealthy": len(damaged)},
    }
    if not session.output.json:
        _show(session, entries, findings)
    if damaged:
        error = BrokenModel(f"{_damaged(damaged, len(entries))}. `mlxk pull MODEL` repairs what came from the hub.")
        error.data = data
        raise error
    return data if session.output.json else None


def _check(entry: Entry, verify: bool) -> Health:
    found = entry.health
    if not verify or found.problems or entry.model.origin != "hub":
        return found
    from mlxk_models.checksums import mismatches

    wrong = [
        Problem(code="wrong_checksum", message=f"{name} is not what the hub has.", file=name)
        for name in mismatches(entry.model)
    ]
    return Health(problems=tuple(wrong))


def _damaged(names: Sequence[str], total: int) -> str:
    if total == 1:
        return f"`{names[0]}` is damaged"
    return f"{len(names)} of {total} models are damaged: {', '.join(names)}"


def _show(session: Session, entries: Sequence[Entry], findings: Sequence[Health]) -> None:
    rows = []
    for entry, found in zip(entries, findings, strict=True):
        state = "\n".join(problem.message for problem in found.problems) or "healthy"
        runs = "-" if found.problems else entry.backend or entry.reason or "-"
        rows.append([entry.model.name, (entry.model.revision or "-")[:7], state, runs])
    if rows:
        columns = [Column("Name", wraps=20), Column("Revision"), Column("Files", wraps=20)]
        show_table(session.output, [*columns, Column("Runs with", wraps=20)], rows)
    healthy = sum(1 for found in findings if not found.problems)
    session.output.line(f"{words.count(len(rows), 'model')}: {healthy} healthy, {len(rows) - healthy} damaged.")


def _as_json(entry: Entry, found: Health) -> dict[str, Any]:
    return {
        "name": entry.model.name,
        "revision": entry.model.revision,
        "healthy": found.healthy,
        "problems": problems_as_json(found),
        "runnable": found.healthy and entry.accepted,
        "reason": found.reason or entry.reason,
    }
