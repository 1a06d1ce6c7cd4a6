"""A status line on standard error while nothing else is shown; on a terminal only."""

from __future__ import annotations

import os
import sys
import time

from mlxk_core.api.commands import Output

_DELAY = 0.3  # seconds; what is faster needs no explanation
_CLEAR = "\r\x1b[K"
_COLUMNS = 80  # of a terminal of unknown size
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
PULSE = 0.1
"""Seconds between two calls of `show` that keep the line moving."""


class Spinner:
    """The status line. `show` may be called at any rate; nothing is printed where it could not be erased."""

    def __init__(self, output: Output, *, on: bool = True) -> None:
        self._output = output
        self._on = on and output.stderr_is_terminal and os.environ.get("TERM") != "dumb"
        self._since = time.monotonic()
        self._shown = False
        self._text = ""

    def show(self, text: str | None = None) -> None:
        """Show `text` (None: the last one again)."""
        self._text = text if text is not None else self._text
        elapsed = time.monotonic() - self._since
        if not self._on or not self._text or elapsed < _DELAY:
            return
        frame = _FRAMES[int(elapsed / PULSE) % len(_FRAMES)]
        self._output.note(f"{_CLEAR}{_fit(f'{frame} {self._text}', f' {elapsed:.0f} s')}", end="")
        self._shown = True

    def clear(self) -> None:
        """Erase the line; it may come back."""
        if self._shown:
            self._output.note(_CLEAR, end="")
            self._shown = False

    def end(self) -> None:
        """Erase the line permanently: the answer has begun on the last line of the screen."""
        self.clear()
        self._on = False


def _fit(text: str, end: str) -> str:
    """Return `text` and `end` on one line, `text` shortened if needed: a line that wraps could not be erased."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):  # not a terminal
        columns = 0
    room = (columns or _COLUMNS) - 1 - len(end)
    return (text if len(text) <= room else text[: max(1, room - 1)] + "…") + end
