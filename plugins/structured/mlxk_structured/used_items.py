"""Items of a list that must be distinct, as they were written, and what they stand for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class UsedItems:
    """Immutable. `texts` are sorted, so those with a common beginning follow one another. `escaped` says that one has
    a backslash: it can be written in more than one way."""

    texts: tuple[bytes, ...] = ()
    values: frozenset[Any] = frozenset()
    escaped: bool = False

    def add(self, texts: Sequence[bytes], value: Any) -> UsedItems:
        """Return these items and one that is written as each of `texts`."""
        found = self.texts
        for text in texts:
            at = bisect_left(found, text)
            found = (*found[:at], text, *found[at:])
        return UsedItems(found, self.values | {value}, self.escaped or any(b"\\" in text for text in texts))

    def beginning_with(self, text: bytes) -> Branch | None:
        """Return the items that begin with `text`, None without any."""
        low = bisect_left(self.texts, text)
        high = bisect_left(self.texts, _after(text), low) if text else len(self.texts)
        return Branch(self.texts, low, high, len(text)) if low < high else None


@dataclass(frozen=True, slots=True)
class Branch:
    """The items from `low` to `high`, which have their first `depth` bytes in common. There is one at least."""

    texts: tuple[bytes, ...]
    low: int
    high: int
    depth: int

    @property
    def has_end(self) -> bool:
        """Whether an item ends here."""
        return len(self.texts[self.low]) == self.depth

    def rests(self, longest: int) -> Iterator[bytes]:
        """Yield up to `longest` bytes of what follows in each item."""
        for index in range(self.low, self.high):
            yield self.texts[index][self.depth : self.depth + longest]

    def nexts(self) -> Iterator[tuple[int, Branch]]:
        """Yield each byte that follows, and the items in which it does."""
        low = self.low + self.has_end
        while low < self.high:
            text = self.texts[low][: self.depth + 1]
            high = bisect_left(self.texts, _after(text), low, self.high)
            yield text[-1], Branch(self.texts, low, high, self.depth + 1)
            low = high


def _after(text: bytes) -> bytes:
    """Return what is sorted after all that begins with `text`; no byte of UTF-8 is 255."""
    return text[:-1] + bytes([text[-1] + 1])
