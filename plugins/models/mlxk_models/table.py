"""Tables: rich on a terminal, plain aligned columns in a pipe."""

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
_MIN_SHORT = 16  # columns of a shortened cell


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, right-aligned if `right`. The other fields are for terminals, where a table may be too wide.

    `drop`: left out, the lowest number first (0: never). `shortens`: longer cells lose their middle (0: never).
    `wraps`: then becomes narrower, down to that width (0: never); its cells take several lines, but one of the first
    column takes a line of its own, so that a name stays in one piece.
    """

    title: str
    right: bool = False
    wraps: int = 0
    drop: int = 0
    shortens: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A row. `notes` are sentences about it: below it on a terminal, in a last column in a pipe."""

    cells: Sequence[str]
    notes: Sequence[str] = ()


def cells(text: str) -> int:
    """Return the terminal columns of `text`: two for a wide character, none for a combining accent."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def show_table(output: Output, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print the table to standard output."""
    rows = [
        Row([escape_control(cell) for cell in row.cells], [escape_control(note) for note in row.notes]) for row in rows
    ]
    if output.stdout_is_terminal:
        output.write(_rich(columns, rows))
    else:
        for line in _plain(columns, rows):
            output.line(line)


def _plain(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """Return the lines, never wrapped or cut: a pipe has no width, and programs need whole names."""
    lines = [[column.title.upper() for column in columns], *(list(row.cells) for row in rows)]
    if any(row.notes for row in rows):
        columns = [*columns, Column("Notes")]
        for line, last in zip(lines, ["NOTES", *(" ".join(row.notes) for row in rows)], strict=True):
            line.append(last)
    widths = [max(cells(line[index]) for line in lines) for index in range(len(columns))]
    return [
        _GAP.join(
            _pad(cell, width, right=column.right) for cell, column, width in zip(line, columns, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _pad(text: str, width: int, *, right: bool) -> str:
    room = " " * (width - cells(text))
    return room + text if right else text + room


def _rich(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    # Imported here, because it takes 60 ms that a pipe does not need.
    from rich.console import Console

    console = Console(force_terminal=True)
    columns, rows = _fit(columns, rows, console.width)
    widths = _widths(columns, rows, console.width)
    # A terminal that is still too narrow breaks the lines; rich would cut columns off.
    console.width = max(console.width, sum(widths) + len(_GAP) * (len(columns) - 1))
    with console.capture() as capture:
        for part in _parts(columns, widths, rows):
            console.print(part)
    return capture.get()


def _fit(columns: Sequence[Column], rows: Sequence[Row], room: int) -> tuple[Sequence[Column], Sequence[Row]]:
    """Shorten long cells, and drop columns until the table fits; then shorten further, by as much as it is too wide."""
    limits = [column.shortens for column in columns]
    while True:
        shown = [Row(list(map(_shorten, row.cells, limits)), row.notes) for row in rows]
        natural = [max(map(cells, column)) for column in zip(*_lines(columns, shown), strict=True)]
        excess = sum(natural) + len(_GAP) * (len(columns) - 1) - room
        droppable = [(column.drop, index) for index, column in enumerate(columns) if column.drop]
        if excess <= 0 or not droppable:
            break
        _, out = min(droppable)
        columns = [*columns[:out], *columns[out + 1 :]]
        limits = [*limits[:out], *limits[out + 1 :]]
        rows = [Row([*row.cells[:out], *row.cells[out + 1 :]], row.notes) for row in rows]
    if excess > 0:
        limits = [max(width - excess, _MIN_SHORT) if limit else 0 for limit, width in zip(limits, natural, strict=True)]
        shown = [Row(list(map(_shorten, row.cells, limits)), row.notes) for row in rows]
    return columns, shown


def _shorten(text: str, limit: int) -> str:
    """Return `text` in at most `limit` columns (0: no limit), without its middle if it is longer."""
    if not limit or cells(text) <= limit:
        return text
    head, tail = text, text
    while cells(head) > (limit - 1) // 2:
        head = head[:-1]
    while cells(tail) > limit - 1 - cells(head):
        tail = tail[1:]
    return f"{head}…{tail}"


def _widths(columns: Sequence[Column], rows: Sequence[Row], room: int) -> list[int]:
    """Return the width of the longest cell of each column; the widest that may wrap becomes narrower if needed."""
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
