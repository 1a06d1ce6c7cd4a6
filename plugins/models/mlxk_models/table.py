"""A table for a person: rich on a terminal, plain aligned columns in a pipe."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlxk_core.api.commands import Output, escape_control

if TYPE_CHECKING:
    from rich.console import RenderableType

_GAP = "  "
_INDENT = 4


@dataclass(frozen=True, slots=True)
class Column:
    """`wraps`: on a narrow terminal it gives way, down to that width (0: never). Cells then take several lines; one of
    the first column takes a line of its own instead, so that a name stays in one piece."""

    title: str
    right: bool = False
    wraps: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """`notes` are sentences about the row: below it on a terminal, in a last column of their own in a pipe."""

    cells: Sequence[str]
    notes: Sequence[str] = ()


def cells(text: str) -> int:
    """The columns of a terminal that `text` takes: two for a wide character, none for an accent of its own."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def show_table(output: Output, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    rows = [
        Row([escape_control(cell) for cell in row.cells], [escape_control(note) for note in row.notes]) for row in rows
    ]
    if output.stdout_is_terminal:
        output.write(_rich(columns, rows))
    else:
        for line in _plain(columns, rows):
            output.line(line)


def _plain(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """Never wrapped or cut: a pipe has no width, and what reads it wants whole names."""
    lines = [[column.title.upper() for column in columns], *(list(row.cells) for row in rows)]
    if any(row.notes for row in rows):
        columns = [*columns, Column("Notes")]
        for line, last in zip(lines, ["NOTES", *(" ".join(row.notes) for row in rows)], strict=True):
            line.append(last)
    widths = [max(cells(line[index]) for line in lines) for index in range(len(columns))]
    return [
        _GAP.join(
            _filled(cell, width, right=column.right) for cell, column, width in zip(line, columns, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _filled(text: str, width: int, *, right: bool) -> str:
    room = " " * (width - cells(text))
    return room + text if right else text + room


def _rich(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    # Imported here: a pipe does without its 60 ms.
    from rich.console import Console

    console = Console(force_terminal=True)
    widths = _widths(columns, rows, console.width)
    # A terminal too narrow even so breaks the lines; rich would cut columns off.
    console.width = max(console.width, sum(widths) + len(_GAP) * (len(columns) - 1))
    with console.capture() as capture:
        for part in _parts(columns, widths, rows):
            console.print(part)
    return capture.get()


def _widths(columns: Sequence[Column], rows: Sequence[Row], room: int) -> list[int]:
    """As wide as the longest cell; where that is too much, the widest column that may wrap gives way."""
    widths = [max(map(cells, column)) for column in zip(*_lines(columns, rows), strict=True)]
    for _ in range(sum(widths) + len(_GAP) * (len(columns) - 1) - room):
        spare = [(width, index) for index, width in enumerate(widths) if 0 < columns[index].wraps < width]
        if not spare:
            break
        widths[max(spare)[1]] -= 1
    return widths


def _lines(columns: Sequence[Column], rows: Sequence[Row]) -> list[Sequence[str]]:
    return [[column.title for column in columns], *(row.cells for row in rows)]


def _parts(columns: Sequence[Column], widths: Sequence[int], rows: Sequence[Row]) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    def grid() -> Table:
        table = Table.grid(padding=(0, len(_GAP), 0, 0))
        for column, width in zip(columns, widths, strict=True):
            table.add_column(width=width, justify="right" if column.right else "left", overflow="fold")
        return table

    table = grid()
    table.add_row(*(column.title.upper() for column in columns), style="bold")
    for row in rows:
        first, *others = row.cells
        below = [Padding(Text(note), (0, 0, 0, _INDENT)) for note in row.notes]
        if cells(first) > widths[0]:
            if table.row_count:
                yield table
            yield Text(first, overflow="fold")
            first, table = "", grid()
        table.add_row(*map(Text, (first, *others)))
        if below:
            yield table
            yield from below
            table = grid()
    if table.row_count:
        yield table
