"""A table for a person: rich on a terminal, plain aligned columns in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlxk_core.output import Output

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """`wraps`: on a narrow terminal its cells take several lines, so that the others keep theirs."""

    title: str
    right: bool = False
    wraps: bool = False


def show_table(output: Output, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    if output.stdout_is_terminal:
        output.write(_rich(columns, rows))
    else:
        for line in _plain(columns, rows):
            output.line(line)


def _plain(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """Never wrapped or cut: a pipe has no width, and what reads it wants whole names."""
    lines = [[column.title for column in columns], *([cell.replace("\n", " ") for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return [
        _GAP.join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, column, width in zip(line, columns, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _rich(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    # Imported here: a pipe does without its 60 ms.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=not column.wraps,
            overflow="fold",
            ratio=None,
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(force_terminal=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
