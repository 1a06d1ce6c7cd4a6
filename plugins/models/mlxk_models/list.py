"""`mlxk list`: the models on this machine, one line each."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import click

from mlxk_core.api.commands import Session, json_option
from mlxk_core.api.models import Resolver, hub_cache
from mlxk_models import humanize, inventory
from mlxk_models.entry import Entry
from mlxk_models.inspect import examined
from mlxk_models.table import Column, Row, show_table

_OWNER = "mlx-community/"


@click.command("list")
@click.argument("pattern", required=False)
@click.option("--all", "all_", is_flag=True, help="Also what does not run here.")
@click.option("--health", is_flag=True, help="Also the state of the files, and models with damaged ones.")
@click.option("--verbose", is_flag=True, help="Full names, and what runs each model or why nothing does.")
@json_option
@click.pass_obj
def list_(session: Session, pattern: str | None, all_: bool, health: bool, verbose: bool) -> dict[str, Any] | None:
    """List the models on this machine.

    Those that run here (--all: every one); with PATTERN, those whose name holds it.
    """
    found = inventory.every(Resolver(session.host))
    if pattern:
        found = [model for model in found if pattern.casefold() in model.name.casefold()]

    def is_shown(entry: Entry) -> bool:
        return all_ or entry.runs or (health and not entry.health.healthy)

    if session.output.json:
        described = [examined(session, each, lambda e: e.as_json() if is_shown(e) else None) for each in found]
        models = [each for each in described if each]
        return {"models": models, "hidden": len(found) - len(models)}
    now = datetime.now(tz=UTC)
    rows = [
        examined(session, each, lambda e: _row(e, now, health=health, verbose=verbose) if is_shown(e) else None)
        for each in found
    ]
    shown = [row for row in rows if row]
    if shown:
        show_table(session.output, _columns(health=health, verbose=verbose), shown)
    hidden = len(found) - len(shown)
    if hidden:
        counted = humanize.count(hidden, "more model" if shown else "model")
        session.output.note(f"{counted} cannot run here; `mlxk list --all` shows {'it' if hidden == 1 else 'them'}.")
    elif not found:
        session.output.note(f"No model's name holds `{pattern}`." if pattern else _nothing())
    return None


def _nothing() -> str:
    cache = hub_cache()
    if cache.exists() and not os.access(cache, os.R_OK | os.X_OK):
        return f"The cache {cache} may not be read."
    return f"No model is in {cache}. `mlxk pull ORG/NAME` downloads one from the hub."


def _columns(*, health: bool, verbose: bool) -> list[Column]:
    columns = [
        Column("Name", wraps=4),
        Column("Revision"),
        Column("Size", right=True),
        Column("Modified"),
        Column("Type"),
        Column("Framework"),
        Column("Quant", wraps=8),
    ]
    if health:
        columns.append(Column("Files"))
    if verbose:
        columns.append(Column("Runs with"))
    return columns


def _row(entry: Entry, now: datetime, *, health: bool, verbose: bool) -> Row:
    model = entry.model
    labels = [each.label if verbose else _brief(each.label) for each in entry.quantizations]
    cells = [
        model.name if verbose else model.name.removeprefix(_OWNER),
        (model.revision or "-")[:7],
        humanize.size(entry.size),
        humanize.age(entry.modified, now) if entry.modified else "-",
        entry.facts.type,
        entry.facts.framework,
        ", ".join(labels) or "-",
    ]
    told = []
    if health:
        cells.append(humanize.state(entry.health))
        told.append(entry.health.reason)
    if verbose:
        cells.append(entry.runs_with or "-")
        told.append(entry.reason)
    return Row(cells, tuple(dict.fromkeys(sentence for sentence in told if sentence)))


def _brief(label: str) -> str:
    """`int4` of `int4 (group 64)`: the group can be looked up with show."""
    return label.partition(" (")[0]
