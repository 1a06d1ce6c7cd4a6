"""The table of saved chats, fitted to the terminal's width."""

from __future__ import annotations

from collections.abc import Sequence

from mlxk_run.terminal_writer import cell_length, longest_head

_GAP = "  "
_MODEL, _TITLE = "MODEL", "CHAT"
_OPTIONAL = ("MESSAGES", "UPDATED")
"""Columns that are left out where the title would not fit, in this order."""
_NARROWEST_TITLE = 20
_NARROWEST_MODEL = 12


def chat_table(rows: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    """Return the lines of a table; the first row has the headings. `columns` None: nothing is shortened or left out."""
    names = list(rows[0])
    table = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    if columns is not None:
        wanted = min(_NARROWEST_TITLE, _width(table[_TITLE]))
        missing = wanted - _room(table, columns)
        if missing > 0:
            width = max(_NARROWEST_MODEL, _width(table[_MODEL]) - missing)
            table[_MODEL] = [_shorten(cell, width) for cell in table[_MODEL]]
        for name in _OPTIONAL:
            if _room(table, columns) < wanted:
                del table[name]
        room = max(1, _room(table, columns))
        table[_TITLE] = [_shorten(cell, room) for cell in table[_TITLE]]
    padded = [_padded(cells) for cells in table.values()]
    return [_GAP.join(cells).rstrip() for cells in zip(*padded, strict=True)]


def _room(table: dict[str, list[str]], columns: int) -> int:
    """Return the columns that are left for the title."""
    return columns - sum(_width(cells) + len(_GAP) for name, cells in table.items() if name != _TITLE)


def _width(cells: Sequence[str]) -> int:
    return max(map(cell_length, cells))


def _padded(cells: Sequence[str]) -> list[str]:
    width = _width(cells)
    return [cell + " " * (width - cell_length(cell)) for cell in cells]


def _shorten(text: str, width: int) -> str:
    return text if cell_length(text) <= width else longest_head(text, width - 1) + "…"
