"""The weight of a JSON body: how much memory its values take once they are built."""

from __future__ import annotations

from typing import Protocol

from mlxk_core.api.server import ApiError

_LARGEST_WEIGHT = 2_000_000
"""In numbers: that many numbers, 500,000 texts or 125,000 arrays and objects take about 60 MB and a quarter second."""
_TEXT, _CONTAINER = 4, 16
_ALWAYS_LIGHT = _LARGEST_WEIGHT // _CONTAINER
"""Bytes of a body that cannot be too heavy."""
_CONTAINER_BYTES = 256
"""What an array or object counts for in the size of a body: as long as there are millions, each collection of garbage
takes seconds with the interpreter locked."""
_NUMBER_BYTES = 16
_SMALL = 4 << 10
_FEW = 1000


class Body(Protocol):
    """A request body that can be read twice."""

    def read(self) -> bytes: ...

    def seek(self, offset: int, /) -> object: ...


def checked_size(body: Body, length: int | None) -> int:
    """Return how much a body counts for admission: its bytes, 256 for each array and object in it, 16 for other values.

    Raises 413 for a JSON body of too many values: 16 MB of `[]` would become 5 million lists. Such bodies block other
    requests, whatever reads them: the decoders hold the interpreter's lock.
    """
    if length is None or length <= _SMALL:
        return length or 0
    data = body.read()
    body.seek(0)
    if data.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] not in (b"{", b"["):
        return length
    if length > _ALWAYS_LIGHT and is_too_heavy(data):
        raise ApiError(413, "The body has too many JSON values.", code="body_too_large")
    if data.count(b",") + _containers(data) > _FEW:
        data = _without_texts(_with_plain_texts(data))
    return length + _CONTAINER_BYTES * _containers(data) + _NUMBER_BYTES * data.count(b",")


def is_too_heavy(data: bytes) -> bool:
    """Return whether the values in `data` weigh too much."""
    if _weight(data) + _TEXT * data.count(b'"') // 2 <= _LARGEST_WEIGHT:
        return False  # even if what is in its texts were values
    data = _with_plain_texts(data)
    texts = _TEXT * data.count(b'"') // 2
    return texts > _LARGEST_WEIGHT or texts + _weight(_without_texts(data)) > _LARGEST_WEIGHT


def _with_plain_texts(data: bytes) -> bytes:
    """Return `data` without escapes, so that every quote begins or ends a text."""
    return data.replace(rb"\\", b"").replace(rb"\"", b"")


def _without_texts(data: bytes) -> bytes:
    return b"".join(data.split(b'"')[::2])


def _weight(data: bytes) -> int:
    """Return the weight of `data`, which has no texts."""
    return data.count(b",") + _CONTAINER * _containers(data)


def _containers(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{")
