"""Detection of an answer that repeats the same text over and over."""

from __future__ import annotations

MIN_REPEATS = 6
MIN_LENGTH = 1000
"""Characters that the repetitions have together; below this, a table or a rule looks like a loop."""
_LONGEST_UNIT = 600
_WINDOW = MIN_REPEATS * _LONGEST_UNIT
_CHECK_EVERY = 64


class LoopGuard:
    """Watches one stream of text: `feed` returns True once its end is at least 6 exact repetitions of one unit of up to
    600 characters, over at least 1000 characters."""

    def __init__(self) -> None:
        self._tail = ""
        self._unchecked = 0

    def feed(self, text: str) -> bool:
        self._tail = (self._tail + text)[-_WINDOW:]
        self._unchecked += len(text)
        if self._unchecked < _CHECK_EVERY or len(self._tail) < MIN_LENGTH:
            return False
        self._unchecked = 0
        return _repeats(self._tail)


def _repeats(tail: str) -> bool:
    """Whether some suffix of `tail` is a repetition. With the prefix function of the reversed text, the smallest period
    of each suffix of length n is n - border[n]."""
    text = tail[::-1]
    border = [0] * (len(text) + 1)
    length = 0
    for end in range(1, len(text)):
        while length and text[end] != text[length]:
            length = border[length]
        if text[end] == text[length]:
            length += 1
        border[end + 1] = length
        size = end + 1
        period = size - length
        if size >= MIN_LENGTH and period <= _LONGEST_UNIT and size >= MIN_REPEATS * period:
            return True
    return False
