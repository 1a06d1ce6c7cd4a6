"""The command `mlxk list`: the local models, one line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

import click

from mlxk_core.api import Model
from mlxk_core.api.commands import Session, complete_model, escape_control, json_option
from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.models import Resolver, hub_cache, short_name, unreadable_cache
from mlxk_core.api.text import human_size, plural
from mlxk_models import humanize, inventory
from mlxk_models.entry import Entry
from mlxk_models.inspect import inspect_model
from mlxk_models.table import Column, Row, show_table

# Largest and newest first; names are in order already, and sorting keeps the order of equal ones.
_SORTS: dict[str, Callable[[Model], float]] = {
    "name": lambda model: 0,
    "size": lambda model: -model.size,
    "modified": lambda model: -(moment.timestamp() if (moment := model.downloaded_at) else 0),
}
_MAX_NAME = 48  # columns, on a terminal


@click.command("list")
@click.argument("pattern", required=False, shell_complete=complete_model)
@click.option("--all", "-a", "all_", is_flag=True, help="Include models that cannot run here.")
@click.option("--health", is_flag=True, help="Show the state of the files; include damaged and unfinished models.")
@click.option("--sort", type=click.Choice([*_SORTS]), default="name", show_default=True, help="Order of the list.")
@click.option("--quiet", "-q", is_flag=True, help="Print names only.")
@click.option("--verbose", "-v", is_flag=True, help="Show full names, and what runs each model or why nothing does.")
@json_option
@click.pass_obj
def list_(
    session: Session, pattern: str | None, all_: bool, health: bool, sort: str, quiet: bool, verbose: bool
) -> dict[str, Any] | None:
    """List local models.

    Lists those that can run here; PATTERN filters by a part of the name. A narrow terminal shows fewer columns;
    --verbose and pipes show all of them.

    \b
    Examples:
      mlxk list
      mlxk list qwen --sort size
      mlxk list --all --verbose
      mlxk list --quiet
    """
    output = session.output
    if quiet and (output.json or verbose):
        raise InvalidOption("--quiet", f"cannot be used with {'--json' if output.json else '--verbose'}.")
    found = inventory.all_models(Resolver(session.host))
    if denied := unreadable_cache():
        output.note(f"warning: Permission denied: cannot read {denied}, so models of the cache are not listed.")
    if pattern:
        found = [model for model in found if pattern.casefold() in model.name.casefold()]
    found.sort(key=_SORTS[sort])
    shared = {name for name, count in Counter(model.name for model in found).items() if count > 1}

    def is_shown(entry: Entry) -> bool:
        return all_ or entry.runs or (health and not entry.health.healthy)

    if output.json:
        described = [inspect_model(session, each, lambda e: e.as_json() if is_shown(e) else None) for each in found]
        models = [each for each in described if each]
        return {"models": models, "hidden": len(found) - len(models)}
    if quiet:
        names = [inspect_model(session, each, lambda e: _name(e, shared) if is_shown(e) else None) for each in found]
        for name in filter(None, names):
            output.line(escape_control(name))
        return None
    now = datetime.now(tz=UTC)

    def name_of(entry: Entry) -> str:
        return entry.model.name if verbose and entry.model.name not in shared else _name(entry, shared)

    rows = [
        inspect_model(
            session, each, lambda e: _row(e, name_of(e), now, health=health, verbose=verbose) if is_shown(e) else None
        )
        for each in found
    ]
    shown = [row for row in rows if row]
    if shown:
        show_table(output, _columns(health=health, verbose=verbose), shown)
    hidden = len(found) - len(shown)
    if hidden:
        count = plural(hidden, "more model" if shown else "model")
        output.note(f"{count} cannot run here; `mlxk list --all` shows {'it' if hidden == 1 else 'them'}.")
    elif not found and not denied:
        nothing = f"No models in {hub_cache()}. `mlxk pull ORG/NAME` downloads one from the hub."
        output.note(f"No models match `{pattern}`." if pattern else nothing)
    return None


def _columns(*, health: bool, verbose: bool) -> list[Column]:
    columns = [
        Column("Name", wraps=4) if verbose else Column("Name", shortens=_MAX_NAME),
        Column("Revision", drop=1),
        Column("Size", right=True),
        Column("Modified", drop=3),
        Column("Type", drop=4),
        Column("Framework", drop=2),
        Column("Quant", wraps=8),
    ]
    if health:
        columns.append(Column("Files"))
    if verbose:
        columns = [Column(each.title, each.right, each.wraps) for each in columns]
        columns.append(Column("Runs with"))
    return columns


def _name(entry: Entry, shared: Collection[str]) -> str:
    """Return the name to type: with its origin if several places have a model of that name."""
    name = short_name(entry.model.name)
    return f"{entry.model.source or 'hub'}:{name}" if entry.model.name in shared else name


def _row(entry: Entry, name: str, now: datetime, *, health: bool, verbose: bool) -> Row:
    model = entry.model
    labels = [each.label if verbose else _brief(each.label) for each in entry.quantizations]
    cells = [
        name,
        model.source or (model.revision or "-")[:7],
        human_size(entry.size),
        humanize.age(entry.modified, now) if entry.modified else "-",
        entry.type,
        entry.framework,
        ", ".join(labels) or "-",
    ]
    notes = []
    if health:
        cells.append(entry.health.state)
        notes.append(entry.health.reason)
    if verbose:
        cells.append(entry.runs_with or "-")
        notes.append(entry.reason)
    return Row(cells, tuple(dict.fromkeys(note for note in notes if note)))


def _brief(label: str) -> str:
    """Return `int4` of `int4 (group 64)`; `show` has the rest."""
    return label.partition(" (")[0]
