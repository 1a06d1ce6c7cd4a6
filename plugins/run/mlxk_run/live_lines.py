"""The last lines of a terminal, rewritten in place while their text is still growing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from itertools import takewhile

_MARGIN = 2  # rows of the screen that are left alone
_CONTROL = re.compile(r"(\x1b\[[0-9;]*[A-Za-z])")


class LiveLines:
    """Lines at the end of the screen. `update` shows a new version of them and redraws only what changed.

    Lines that have scrolled too far up to be reached stay as they are. `size` returns the size of the screen; when its
    width changes, the lines shown stay as well, and what is new goes below them: terminals differ in where they put
    the lines of a window that was resized.
    """

    def __init__(self, write: Callable[[str], None], size: Callable[[], os.terminal_size]) -> None:
        self._write = write
        self._size = size
        self._shown: list[str] = []
        self._fixed = 0
        self._columns: int | None = None
        self._left = 0  # visible characters of the lines that were left at another width

    def update(self, lines: Sequence[str]) -> None:
        """Show `lines` instead of the lines shown so far. The cursor stays at the end of the last one."""
        columns, rows = self._size()
        if self._shown and columns != self._columns:
            self._left += sum(map(_visible, self._shown))
            self._write("\n")
            self._shown, self._fixed = [], 0
        self._columns = columns
        if self._left:
            lines = _without(lines, self._left)
        shown, new = self._shown, [*self._shown[: self._fixed], *lines[self._fixed :]]
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(shown, new, strict=False)))
        if same == len(shown) == len(new):
            return
        if same == len(shown):  # nothing to redraw
            text = ("\n" if shown else "") + "\n".join(new[same:])
        elif same == len(shown) - 1 < len(new) and new[same].startswith(shown[same]):
            text = "\n".join([new[same][len(shown[same]) :], *new[same + 1 :]])
        else:
            same = max(0, min(same, len(new) - 1))  # fewer lines: the cursor has to end on the last one that stays
            up = len(shown) - 1 - same
            text = "\r" + (f"\x1b[{up}A" if up > 0 else "") + "\x1b[J" + "\n".join(new[same:])
        self._write(text)
        self._shown = new
        self._fixed = max(self._fixed, len(new) - max(1, rows - _MARGIN))

    def commit(self) -> None:
        """Leave the lines on the screen and begin new ones below them."""
        if self._shown:
            self._write("\n")
        self._shown, self._fixed, self._left = [], 0, 0


def _visible(line: str) -> int:
    """Return the number of characters of `line` that are neither white space nor control sequences."""
    return sum(not character.isspace() for character in _CONTROL.sub("", line))


def _without(lines: Sequence[str], count: int) -> list[str]:
    """Return `lines` without their first `count` visible characters, and without the lines that are empty then."""
    for index, line in enumerate(lines):
        here = _visible(line)
        if here > count:
            return [_tail(line, count), *lines[index + 1 :]]
        count -= here
    return []


def _tail(line: str, count: int) -> str:
    """Return `line` after its first `count` visible characters, with all its control sequences."""
    kept = ""
    for index, part in enumerate(_CONTROL.split(line)):
        if index % 2:
            kept += part
            continue
        for position, character in enumerate(part):
            if count == 0:
                kept += part[position:]
                break
            count -= not character.isspace()
    return kept.lstrip(" ") if not kept.startswith("\x1b") else kept
