"""The last lines of a terminal, rewritten in place while their text is still growing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile

_MARGIN = 2  # rows of the screen that are left alone


class LiveLines:
    """Lines at the end of the screen. `update` shows a new version of them and redraws only what changed.

    Lines that have scrolled too far up to be reached stay as they are. `rows` returns the height of the screen.
    """

    def __init__(self, write: Callable[[str], None], rows: Callable[[], int]) -> None:
        self._write = write
        self._rows = rows
        self._shown: list[str] = []
        self._fixed = 0

    def update(self, lines: Sequence[str]) -> None:
        """Show `lines` instead of the lines shown so far. The cursor stays at the end of the last one."""
        shown, new = self._shown, [*self._shown[: self._fixed], *lines[self._fixed :]]
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(shown, new, strict=False)))
        if same == len(shown) == len(new):
            return
        if same == len(shown):  # nothing to redraw
            text = ("\n" if shown else "") + "\n".join(new[same:])
        elif same == len(shown) - 1 < len(new) and new[same].startswith(shown[same]):
            text = "\n".join([new[same][len(shown[same]) :], *new[same + 1 :]])
        else:
            up = len(shown) - 1 - same
            text = "\r" + (f"\x1b[{up}A" if up > 0 else "") + "\x1b[J" + "\n".join(new[same:])
        self._write(text)
        self._shown = new
        self._fixed = max(self._fixed, len(new) - max(1, self._rows() - _MARGIN))

    def commit(self) -> None:
        """Leave the lines on the screen and begin new ones below them."""
        if self._shown:
            self._write("\n")
        self._shown, self._fixed = [], 0
