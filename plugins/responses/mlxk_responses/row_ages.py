"""Ages of rows by the monotonic clock, so that a wall clock that is wrong for a while deletes nothing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_STEPS = 64
"""Moments that are kept for the longest age: rows of the same one are taken to be as old as the youngest of them."""


@dataclass
class _Moment:
    began: float
    latest: float
    last_row: int


class RowAges:
    """Which rows this process has known for longer than `age` seconds. Rows are numbered in order."""

    def __init__(self, age: float) -> None:
        self._age = age
        self._moments: deque[_Moment] = deque()
        self._old = 0

    def seen(self, last_row: int, now: float) -> None:
        """Note that all rows up to `last_row` exist at `now`."""
        newest = self._moments[-1] if self._moments else None
        if last_row <= (newest.last_row if newest else self._old):
            return
        if newest is not None and now - newest.began < self._age / _STEPS:
            newest.latest, newest.last_row = now, last_row
        else:
            self._moments.append(_Moment(now, now, last_row))

    def last_expired(self, now: float) -> int:
        """Return the number up to which all rows are too old."""
        while self._moments and now - self._moments[0].latest >= self._age:
            self._old = self._moments.popleft().last_row
        return self._old
