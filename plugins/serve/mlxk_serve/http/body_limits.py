"""The weight of a JSON body: how much memory its values take once they are built."""

from __future__ import annotations

import re
from typing import Protocol

from mlxk_core.api.server import ApiError
from mlxk_core.api.text import json_shape

_LARGEST_WEIGHT = 2_000_000
"""In numbers: that many numbers, 500,000 texts or 125,000 arrays and objects take about 60 MB and a quarter second."""
_TEXT, _CONTAINER = 4, 16
_CONTAINER_BYTES, _VALUE_BYTES = 1024, 16
"""What an array or object, and any other value, counts for in the size of a body: as long as there are hundreds of
thousands, each collection of garbage takes a second on a busy machine, with the interpreter locked."""
_SMALL = 4 << 10
# First bytes of characters in UTF-8, and the first half of a character as JSON escapes it.
_UP_TO_LATIN_1 = bytes(range(0xC4))
_OF_TWO_BYTES = bytes(range(0xF0))
_WIDE_ESCAPE = re.compile(rb"\\u[dD][89abAB]")
_PIECE = 64 << 10
"""Bytes that are looked at in one call, with the interpreter locked."""
_OVERLAP = 3  # of an escape


class Body(Protocol):
    """A request body that can be read twice."""

    def read(self) -> bytes: ...

    def seek(self, offset: int, /) -> object: ...


def checked_size(body: Body, length: int | None) -> int:
    """Return how much a body counts for admission: its bytes, 1,024 for each array and object in it, and 16 for each
    other value.

    The bytes count twice or four times if a character of it takes two or four in a `str`: then all of a text do.

    Raises 413 for a JSON body of too many values: 8 MB of `[]` would become 3 million lists. Such bodies block other
    requests, whatever reads them: the decoders hold the interpreter's lock.
    """
    if length is None or length <= _SMALL:
        return length or 0
    data = body.read()
    body.seek(0)
    if data.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] not in (b"{", b"["):
        return length * _width(data)
    shape = json_shape(data)
    if shape.values + _TEXT * shape.strings + _CONTAINER * shape.containers > _LARGEST_WEIGHT:
        raise ApiError(413, "The body has too many JSON values.", code="body_too_large")
    return length * _width(data) + _CONTAINER_BYTES * shape.containers + _VALUE_BYTES * shape.commas


def _width(data: bytes) -> int:
    """Return how many bytes the widest character of `data` takes in a `str`: 1, 2 or 4."""
    widest = 1
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE + _OVERLAP]
        beyond_latin_1 = b"" if piece.isascii() else piece.translate(None, _UP_TO_LATIN_1)
        if beyond_latin_1.translate(None, _OF_TWO_BYTES) or _WIDE_ESCAPE.search(piece):
            return 4
        if beyond_latin_1 or rb"\u" in piece:
            widest = 2
    return widest
