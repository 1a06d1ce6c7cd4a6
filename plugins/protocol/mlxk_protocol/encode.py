"""Encoding of responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

import msgspec

T = TypeVar("T")


def encoded_each(items: Iterable[T]) -> list[T]:
    """Return each of `items` as its JSON text, as `msgspec.json` takes it in place of the object.

    For lists that may be long: encoding a million objects at once holds the interpreter's lock for seconds, and so does
    every collection of garbage that visits them.
    """
    encode = msgspec.json.Encoder().encode
    return [cast(T, msgspec.Raw(encode(item))) for item in items]
