"""What parsers keep of the texts that they have read: llguidance keeps the items of each place, and does not tell their
size."""

from __future__ import annotations

from collections import deque

from mlxk_core.api.errors import ConstraintFailure

_BYTES_A_SECOND = 128 << 20
"""That are kept for a second of CPU time, at most: 37 million for an ordinary schema, 121 million for empty lists."""
_MOST = 1 << 30
"""Bytes of all rows."""
_MOST_OF_ROW = _MOST // 2
_SMALL = _MOST // 64
"""Bytes of a row that goes on where all rows have too many: the larger ones end first."""


class ParserMemory:
    """The bytes of the parsers of all rows, as an upper bound. Of the engine thread, but for `give_back`."""

    def __init__(self) -> None:
        self._size = 0
        self._given_back: deque[int] = deque()

    def add(self, size: int) -> int:
        """Count bytes, and return how many there are."""
        self._size += size
        while self._given_back:
            self._size -= self._given_back.popleft()
        return self._size

    def give_back(self, size: int) -> None:
        """Count bytes no more. Without a lock: a collection of garbage may call it at any place."""
        self._given_back.append(size)


class ParserShare:
    """What the parsers of one row keep. It is given back with this object."""

    def __init__(self, memory: ParserMemory) -> None:
        self._memory = memory
        self._size = 0

    def add(self, seconds: float) -> None:
        """Count text that was read in `seconds` of CPU time. Raises `ConstraintFailure` if it was too much."""
        size = int(seconds * _BYTES_A_SECOND)
        self._size += size
        of_all = self._memory.add(size)
        if self._size > _MOST_OF_ROW or (self._size > _SMALL and of_all > _MOST):
            raise ConstraintFailure("The response is too long for its constraint.")

    def __del__(self) -> None:
        self._memory.give_back(self._size)
