"""Turns of prompts that cannot all be read at once: short ones do not wait for long ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

_SHORT = 1024
"""Tokens that are left to read of a short prompt."""
_TURN = 4
"""Steps for which long prompts are read before they are paused again, and for which short ones pass them. The cache of
a paused prompt is copied twice, which takes less time than a step."""


class ReadRow(Protocol):
    """A row whose prompt is read."""

    @property
    def unread(self) -> int:
        """Tokens of its prompt that are left to read."""


_Row = TypeVar("_Row", bound=ReadRow)


class ReadingTurns(Generic[_Row]):
    """Rows whose prompts wait to be read, in order of arrival: short ones, and long ones, of which some are paused."""

    def __init__(self) -> None:
        self._short: deque[_Row] = deque()
        self._long: deque[_Row] = deque()
        self._short_first = True
        self._left = 0
        """Steps of this turn."""

    def __len__(self) -> int:
        return len(self._short) + len(self._long)

    def add(self, row: _Row) -> None:
        """Let a row wait, which is new or was paused."""
        (self._short if row.unread <= _SHORT else self._long).append(row)

    def discard(self, row: _Row) -> None:
        """Forget a row, whether it waits or not."""
        for queue in (self._short, self._long):
            if row in queue:
                queue.remove(row)

    def clear(self) -> None:
        self._short.clear()
        self._long.clear()

    def to_pause(self, reading: Sequence[_Row], most: int) -> list[_Row]:
        """Return up to `most` of the rows that are read, to pause them for short ones that wait. To be called before
        each step."""
        self._left = max(0, self._left - 1)
        if self._left or not self._short:
            return []
        long = sorted((row for row in reading if row.unread > _SHORT), key=lambda row: -row.unread)
        paused = long[: min(most, len(self._short))]
        if paused:
            self._short_first, self._left = True, _TURN
        return paused

    def take(self, fits: Callable[[_Row], bool]) -> _Row | None:
        """Take the next row that `fits` what is read now, None if none does."""
        short_first = self._short_first and (self._left > 0 or not self._long)
        for queue in (self._short, self._long) if short_first else (self._long, self._short):
            if queue and fits(queue[0]):
                if queue is self._long:
                    self._short_first, self._left = False, _TURN
                return queue.popleft()
        return None
