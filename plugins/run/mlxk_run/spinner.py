"""What goes on before the first word: one line on standard error that goes away, on a terminal only."""

from __future__ import annotations

import os
import sys
import time

from mlxk_core.api.commands import Output

_PATIENCE = 0.3  # seconds; what is faster than this needs no explanation
_CLEAR = "\r\x1b[K"
_COLUMNS = 80  # of a terminal that does not say
_MARKS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
PULSE = 0.1
"""Seconds between two calls of `show` that keep the line moving."""


class Activity:
    """The line. `show` may be called as often as one likes; nothing appears where it could not be taken away."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._on = output.stderr_is_terminal and os.environ.get("TERM") != "dumb"
        self._since = time.monotonic()
        self._shown = False
        self._text = ""

    def show(self, text: str | None = None) -> None:
        """Says what goes on (None: the same as before)."""
        self._text = text if text is not None else self._text
        elapsed = time.monotonic() - self._since
        if not self._on or not self._text or elapsed < _PATIENCE:
            return
        mark = _MARKS[int(elapsed / PULSE) % len(_MARKS)]
        self._output.note(f"{_CLEAR}{_cut(f'{mark} {self._text}', f' {elapsed:.0f} s')}", end="")
        self._shown = True

    def clear(self) -> None:
        """Takes the line away; it may come back."""
        if self._shown:
            self._output.note(_CLEAR, end="")
            self._shown = False

    def end(self) -> None:
        """Takes the line away for good: what stands on the screen's last line now is the answer's."""
        self.clear()
        self._on = False


def _cut(text: str, end: str) -> str:
    """The two on one line of the terminal, at the cost of `text`: of a line that goes on below only the last could be
    taken away."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):  # nothing with a size
        columns = 0
    room = (columns or _COLUMNS) - 1 - len(end)
    return (text if len(text) <= room else text[: max(1, room - 1)] + "…") + end
