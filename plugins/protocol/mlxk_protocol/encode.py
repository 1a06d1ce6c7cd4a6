"""Encoding of responses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar, cast

import msgspec

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


def encoded_each(items: Iterable[T]) -> list[T]:
    """Return each of `items` as its JSON text, as `msgspec.json` takes it in place of the object.

    For lists that may be long: encoding a million objects at once holds the interpreter's lock for seconds, and so does
    every collection of garbage that visits them.
    """
    return [cast(T, msgspec.Raw(_encode(item))) for item in items]


def encoded_size(encoded: Sequence[object]) -> int:
    """Return the bytes of a list that `encoded_each` made."""
    return sum(memoryview(cast(msgspec.Raw, each)).nbytes for each in encoded)
