"""The size of a grammar with everything written out that its parts share."""

from __future__ import annotations

from collections.abc import Mapping

from mlxk_core._generation.grammar import AnyText, Literal, Matches, OneOf, Part, RawString, Repeat, Sequence, UpTo

_NODE = 16
"""Characters that a part or a value counts for besides its text."""


def is_larger(grammar: Part, characters: int) -> bool:
    """Return whether `grammar` is longer than about `characters` once it is written out. Takes no longer than to write
    as much."""
    try:
        return _Measure(characters).size(grammar) > characters
    except _TooLarge:
        return True


class _TooLarge(Exception):
    """What was visited alone is too large."""


class _Measure:
    def __init__(self, most: int) -> None:
        self._most = most
        self._visited = 0
        self._sizes: dict[int, int] = {}  # by identity: parts are shared

    def size(self, part: Part) -> int:
        known = self._sizes.get(id(part))
        if known is None:
            known = self._sizes[id(part)] = self._count(_NODE) + self._inner(part)
        return known

    def _inner(self, part: Part) -> int:
        match part:
            case Sequence(parts) | OneOf(parts):
                return sum(map(self.size, parts))
            case Repeat(inner):
                return self.size(inner)
            case Literal(text):
                return self._count(len(text))
            case Matches(value=value):
                return self._value(value)
            case RawString(schema, without):
                return self._value(schema) + self._count(sum(map(len, without)))
            case AnyText(markers) | UpTo(markers):
                return self._count(sum(map(len, markers)))

    def _value(self, value: object) -> int:
        size, left = 0, [value]
        while left:
            each = left.pop()
            size += self._count(_NODE)
            if isinstance(each, str):
                size += self._count(len(each))
            elif isinstance(each, Mapping):
                size += self._count(sum(len(key) for key in each if isinstance(key, str)))
                left.extend(each.values())
            elif isinstance(each, (list, tuple)):
                left.extend(each)
        return size

    def _count(self, characters: int) -> int:
        self._visited += characters
        if self._visited > self._most:
            raise _TooLarge
        return characters
