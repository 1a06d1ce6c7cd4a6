"""A table for a person: rich on a terminal, plain aligned columns in a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlxk_core.output import Output

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """`wraps`: on a narrow terminal its cells take several lines, but it keeps that width at least (0: never)."""

    title: str
    right: bool = False
    wraps: int = 0


def show_table(output: Output, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    if output.stdout_is_terminal:
        output.write(_rich(columns, rows))
    else:
        for line in _plain(columns, rows):
            output.line(line)


def _plain(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """Never wrapped or cut: a pipe has no width, and what reads it wants whole names."""
    lines = [[column.title.upper() for column in columns], *([cell.replace("\n", " ") for cell in row] for row in rows)]
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
    least = list(_least(columns, rows))
    for column, width in zip(columns, least, strict=True):
        table.add_column(
            column.title.upper(),
            justify="right" if column.right else "left",
            no_wrap=not column.wraps,
            overflow="fold",
            min_width=width,
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(force_terminal=True)
    # A terminal too narrow even so breaks the lines; rich would cut columns off.
    console.width = max(console.width, sum(least) + len(_GAP) * len(columns))
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _least(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Iterator[int]:
    """The width each column must have; one that wraps is no wider than it needs."""
    for index, column in enumerate(columns):
        longest = max(len(column.title), *(len(row[index]) for row in rows)) if rows else len(column.title)
        yield min(longest, column.wraps) if column.wraps else longest
