"""Bar charts of measurements, drawn with rich."""

from __future__ import annotations

import io
from collections.abc import Mapping

from rich.bar import Bar
from rich.console import Console
from rich.table import Table

Groups = Mapping[str, Mapping[int, float]]
"""Tokens per second by batch size, by what was measured."""
_WIDTH = 72


def print_chart(groups: Groups) -> None:
    """Print the chart on standard output."""
    console = Console(highlight=False)
    console.print(_chart(groups))


def chart_svg(groups: Groups, *, title: str) -> str:
    """Return the chart as an SVG document."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), highlight=False, force_terminal=True)
    console.print(_chart(groups))
    return console.export_svg(title=title)


def _chart(groups: Groups) -> Table:
    """Return the chart. Each group has its own scale: prompts are read many times faster than tokens are generated."""
    table = Table(box=None, expand=True, padding=(0, 1))
    table.add_column("Batch", justify="right", no_wrap=True)
    table.add_column("tok/s", justify="right", no_wrap=True)
    table.add_column("", ratio=1)
    for name, speeds in groups.items():
        table.add_row("", "", name, style="bold")
        longest = max(speeds.values(), default=0.0) or 1.0
        for batch, speed in speeds.items():
            table.add_row(str(batch), f"{speed:,.1f}", Bar(longest, 0, speed, color="cyan"))
    return table
