"""The command `mlxk plugins`: mlxk's own, so that it works when everything else is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from mlxk_core._cli.session import Session, json_option
from mlxk_core._errors import PluginFailure
from mlxk_core._host.loader import PluginRecord

_HEADINGS = ("NAME", "DISTRIBUTION", "VERSION", "STATUS", "PROVIDES")


@click.command("plugins")
@click.option("--check", is_flag=True, help="Import everything they name; fail if anything is wrong with any of them.")
@json_option
@click.pass_obj
def plugins(session: Session, check: bool) -> Any:
    """List installed plugins, what they provide, and any problems."""
    host, output = session.host, session.output
    if check:
        for target in host.targets():
            try:
                host.load(target)
            except PluginFailure:
                continue  # it is on its plugin's record now
    records = host.plugins()
    wrong = [record.name for record in records if _problems(record) and record.status != "disabled"]
    data = {"plugins": [asdict(record) for record in records]}
    if not output.json:
        for line in _table(records):
            output.line(line)
    if check and wrong:
        error = PluginFailure(f"There is something wrong with: {', '.join(wrong)}.", plugins=wrong)
        error.data = data
        raise error
    return data


def _problems(record: PluginRecord) -> list[str]:
    return [text for text in (record.reason, *record.conflicts) if text]


def _table(records: Sequence[PluginRecord]) -> list[str]:
    if not records:
        return ["No plugin is installed. `pip install mlxk-run mlxk-mlx` is a start."]
    rows = [_HEADINGS]
    for record in records:
        # What is wrong comes before what is there: it is what one looks for.
        told = "; ".join([*_problems(record), *_by_kind(record.provides)])
        rows.append((record.name, record.distribution or "-", record.version or "-", record.status, told or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]


def _by_kind(provided: Sequence[str]) -> list[str]:
    """`command list`, `command rm` → `command list, rm`"""
    kinds: dict[str, list[str]] = {}
    for what in provided:
        kind, _, name = what.rpartition(" ")
        kinds.setdefault(kind, []).append(name)
    return [f"{kind} {', '.join(names)}" for kind, names in kinds.items()]
