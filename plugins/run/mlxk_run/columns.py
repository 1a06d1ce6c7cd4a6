"""Lists of two columns, wrapped for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable

_INDENT = "  "
_NARROWEST = 20  # columns of the right column; below it, its text goes under the left one


def two_columns(rows: Iterable[tuple[str, str]]) -> str:
    """Return the rows as lines: the left column padded, the right column wrapped."""
    listed = list(rows)
    columns = shutil.get_terminal_size().columns - 1
    margin = len(_INDENT) + max((len(left) for left, _ in listed), default=0) + 2
    lines: list[str] = []
    for left, right in listed:
        if columns - margin < _NARROWEST:
            lines += [_INDENT + left, *_wrap(right, columns, 2 * _INDENT)]
        else:
            first, *rest = _wrap(right, columns, " " * margin)
            lines += [f"{_INDENT}{left}".ljust(margin) + first[margin:], *rest]
    return "\n".join(line.rstrip() for line in lines)


def _wrap(text: str, columns: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        max(columns, len(indent) + 8),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [indent]
