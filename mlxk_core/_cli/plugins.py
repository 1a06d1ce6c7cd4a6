"""The command `mlxk plugins`, built in so that it works when every plugin is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from mlxk_core._cli.scaffold import KINDS, write_project
from mlxk_core._cli.session import Session, json_option
from mlxk_core._errors import PluginFailure, UsageError
from mlxk_core._host.host import Host
from mlxk_core._host.plugin import PluginRecord

_HEADINGS = ("NAME", "DISTRIBUTION", "VERSION", "STATUS", "PROVIDES")


@click.group("plugins", invoke_without_command=True)
@click.option(
    "--check",
    is_flag=True,
    help="Load and test everything the plugins provide; exit with an error on problems.",
)
@json_option
@click.pass_context
def plugins(ctx: click.Context, /, check: bool) -> Any:
    """List installed plugins, what they provide, and any problems.

    \b
    Examples:
      mlxk plugins
      mlxk plugins --check
      mlxk plugins new command greet
    """
    if ctx.invoked_subcommand is not None:
        if check:
            raise UsageError(f"--check cannot be used with `{ctx.invoked_subcommand}`.")
        return None
    session: Session = ctx.obj
    records = _checked_records(session.host) if check else _records(session.host)
    with_problems = [record.name for record in records if _problems(record) and record.status != "disabled"]
    data = {"plugins": [asdict(record) for record in records]}
    if not records:
        session.output.line("No plugin is installed. Install mlxk-run and a backend, such as mlxk-mlx.")
    else:
        for left, right in _table(records):
            session.output.row(left, right)
    if check and with_problems:
        raise PluginFailure(f"Plugins with problems: {', '.join(with_problems)}.", plugins=with_problems, data=data)
    return data


@plugins.command("new")
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where to create the project [default: current folder].",
)
@json_option
@click.pass_obj
def new(session: Session, kind: str, name: str, folder: Path) -> Any:
    """Create a project for a new plugin, with a passing test.

    KIND is what the plugin provides, NAME is its name: `mlxk plugins new command greet` writes mlxk-greet/.

    \b
    Examples:
      mlxk plugins new command greet
      mlxk plugins new format my-format --folder projects
    """
    project = write_project(kind, name, folder)
    session.output.line(f"Created {project}. Next: pip install -e '{project}[tests]' && pytest {project}")
    files = sorted(str(path.relative_to(project)) for path in project.rglob("*") if path.is_file())
    return {"path": str(project), "files": files}


def _checked_records(host: Host) -> list[PluginRecord]:
    from mlxk_core._check.plugin_check import check_plugins

    return check_plugins(host)


def _records(host: Host) -> list[PluginRecord]:
    """Return the records, with the routes and middleware of server extensions."""
    from mlxk_core._check.extension_recorder import Claims, additions

    claims = Claims()
    added: dict[str, list[str]] = {}
    for spec in host.server_extensions():
        # Before `host.plugins()`: a failing extension is then part of its plugin's record.
        added.setdefault(host.owner_of(spec).label, []).extend(additions(host, spec, claims))
    return [replace(r, provides=(*r.provides, *added.get(r.label, ()))) for r in host.plugins()]


def _problems(record: PluginRecord) -> list[str]:
    return list(dict.fromkeys(text for text in (record.reason, *record.conflicts, *record.problems) if text))


def _table(records: Sequence[PluginRecord]) -> list[tuple[str, str]]:
    """Return the lines of the table, each as its columns but the last one, padded, and the last one."""
    rows = [_HEADINGS]
    for record in records:
        # Problems come first: they are what the reader looks for.
        text = "; ".join([*_problems(record), *_by_kind(record.provides)])
        rows.append((record.name, record.distribution or "-", record.version or "-", record.status, text or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS) - 1)]
    return [("".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=False)), row[-1]) for row in rows]


def _by_kind(provided: Sequence[str]) -> list[str]:
    """Group by kind: `command list`, `command rm` → `command list, rm`."""
    kinds: dict[str, list[str]] = {}
    for what in provided:
        kind, _, name = what.rpartition(" ")
        kinds.setdefault(kind, []).append(name)
    return [f"{kind} {', '.join(names)}" for kind, names in kinds.items()]
