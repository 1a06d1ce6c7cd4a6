"""Lists of two columns, wrapped for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable

_INDENT = "  "
_NARROWEST = 20


def two_columns(rows: Iterable[tuple[str, str]]) -> str:
    """Return the rows as lines: the left column padded, the right column wrapped."""
    listed = list(rows)
    left_width = max((len(left) for left, _ in listed), default=0)
    room = shutil.get_terminal_size().columns - 1 - len(_INDENT) - left_width - 2
    lines = []
    for left, right in listed:
        wrapped = textwrap.wrap(right, max(room, _NARROWEST), break_long_words=False, break_on_hyphens=False) or [""]
        lines.append(f"{_INDENT}{left.ljust(left_width)}  {wrapped[0]}".rstrip())
        lines += [f"{' ' * (len(_INDENT) + left_width + 2)}{each}" for each in wrapped[1:]]
    return "\n".join(lines)
