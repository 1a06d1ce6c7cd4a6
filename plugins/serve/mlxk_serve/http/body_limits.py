"""The weight of a JSON body: how much memory its values take once they are built."""

from __future__ import annotations

from typing import Protocol

from mlxk_core.api.server import ApiError

_LARGEST_WEIGHT = 2_000_000
"""In numbers: that many numbers, 500,000 texts or 125,000 arrays and objects take about 60 MB and a quarter second."""
_TEXT, _CONTAINER = 4, 16
_ALWAYS_LIGHT = _LARGEST_WEIGHT // _CONTAINER
"""Bytes of a body that cannot be too heavy."""


class Body(Protocol):
    """A request body that can be read twice."""

    def read(self) -> bytes: ...

    def seek(self, offset: int, /) -> object: ...


def check_weight(body: Body, length: int | None) -> None:
    """Raise 413 for a JSON body of too many values: 16 MB of `[]` would become 5 million lists.

    Such bodies block other requests, whatever reads them: the decoders hold the interpreter's lock.
    """
    if length is None or length <= _ALWAYS_LIGHT:
        return
    data = body.read()
    body.seek(0)
    if data.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] in (b"{", b"[") and is_too_heavy(data):
        raise ApiError(413, "The body has too many JSON values.", code="body_too_large")


def is_too_heavy(data: bytes) -> bool:
    """Return whether the values in `data` weigh too much."""
    if _weight(data) + _TEXT * data.count(b'"') // 2 <= _LARGEST_WEIGHT:
        return False  # even if what is in its texts were values
    data = data.replace(rb"\\", b"").replace(rb"\"", b"")  # from here on every quote begins or ends a text
    texts = _TEXT * data.count(b'"') // 2
    return texts > _LARGEST_WEIGHT or texts + _weight(b"".join(data.split(b'"')[::2])) > _LARGEST_WEIGHT


def _weight(data: bytes) -> int:
    """Return the weight of `data`, which has no texts."""
    return data.count(b",") + _CONTAINER * (data.count(b"[") + data.count(b"{"))
