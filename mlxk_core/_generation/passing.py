"""When requests may pass one for which there is no memory yet."""

from __future__ import annotations

_STRICT, _LONGEST_STRICT = 10.0, 60.0
"""Seconds that none may pass: at first, and twice as long each time, at most."""
_PASSING = 10.0
"""Seconds that they may, in between."""


class Passing:
    """Decides for the request that is first in the queue, by turns.

    If none could pass it, one request could hold up all others until the longest response is over. If all could, it
    might wait without end, since they keep the other models busy.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._open = False
        self._strict = 0.0
        self._until = 0.0

    def may_pass(self, first: int, now: float) -> bool:
        """Return whether others may pass the job with the id `first` now. `now` is in monotonic seconds."""
        if first != self._first:
            self._first, self._open, self._strict = first, False, _STRICT
            self._until = now + _STRICT
        elif now >= self._until:
            if self._open:
                self._strict = min(2 * self._strict, _LONGEST_STRICT)
            self._open = not self._open
            self._until = now + (_PASSING if self._open else self._strict)
        return self._open
