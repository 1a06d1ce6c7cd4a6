"""Grammar parts: what a response may look like, independent of the compiler that enforces it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Literal:
    """Exactly `text`. Added tokens in it (`<tool_call>`) are matched as tokens."""

    text: str


@dataclass(frozen=True, slots=True)
class AnyText:
    """Any text, possibly empty, that contains none of the markers `without`."""

    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UpTo:
    """Any text, then the first occurrence of one of the markers `ends`."""

    ends: tuple[str, ...]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Matches:
    """Text that a constraint of `kind` accepts: `json_schema`, `regex`, … with a value in that language.

    `lenient` drops what the compiler does not support instead of raising.
    """

    kind: str
    value: Any
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class RawString:
    """A string that JSON schema `schema` accepts, written without quotes and escapes; it contains none of `without`."""

    schema: Any
    without: tuple[str, ...]
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """Every part, one after the other."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of the parts."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`part` at least `least` times and at most `most` (None: without limit)."""

    part: Part
    least: int = 0
    most: int | None = None


Part = Literal | AnyText | UpTo | Matches | RawString | Sequence | OneOf | Repeat


def sequence(*parts: Part | str) -> Part:
    """Return the parts one after the other; a string is a literal."""
    return Sequence(tuple(Literal(part) if isinstance(part, str) else part for part in parts))


def optional(part: Part) -> Part:
    """Return a part that may be left out."""
    return Repeat(part, 0, 1)


def leaves(part: Part) -> Iterator[Part]:
    """Yield the parts of a grammar that have no parts of their own."""
    match part:
        case Sequence(parts) | OneOf(parts):
            for inner in parts:
                yield from leaves(inner)
        case Repeat(inner):
            yield from leaves(inner)
        case _:
            yield part
