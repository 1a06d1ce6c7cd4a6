"""How many values a JSON text has, before anything is built from it."""

from __future__ import annotations

from typing import NamedTuple

_FEW = 1000
_MOST_STRINGS = 1 << 20


class JsonShape(NamedTuple):
    """The numbers of strings (names too), of commas, and of arrays and objects."""

    strings: int
    commas: int
    containers: int

    @property
    def values(self) -> int:
        """The number of values, the outermost one aside, or more."""
        return self.commas + self.containers


def json_shape(data: bytes) -> JsonShape:
    """Return the shape of `data`, which may be damaged.

    What is inside of strings counts only if there is little of all, or over a million strings.
    """
    shape = _counted(data)
    if max(shape) <= _FEW:
        return shape
    data = data.replace(rb"\\", b"").replace(rb"\"", b"")  # from here on every quote begins or ends a string
    shape = _counted(data)
    if shape.strings > _MOST_STRINGS:  # the list of pieces would be as long
        return shape
    outside = _counted(b"".join(data.split(b'"')[::2]))
    return outside._replace(strings=shape.strings)


def _counted(data: bytes) -> JsonShape:
    return JsonShape(data.count(b'"') // 2, data.count(b","), data.count(b"[") + data.count(b"{"))
