"""How many values a JSON text has, before anything is built from it."""

from __future__ import annotations

from typing import NamedTuple

from mlxk_core._text.long_numbers import count_long_numbers

_PIECE = 64 << 10
"""Bytes that are looked at in one call: the interpreter is locked meanwhile, and megabytes of quotes take a second."""


class JsonShape(NamedTuple):
    """The numbers of strings (names too), of commas, of arrays and objects, and of the values that take as long to read
    as what is long in numbers."""

    strings: int
    commas: int
    containers: int
    long_numbers: int

    @property
    def values(self) -> int:
        """The number of values, the outermost one aside, or more: a long number counts for as many as take its time."""
        return self.commas + self.containers + self.long_numbers


def json_shape(data: bytes) -> JsonShape:
    """Return the shape of `data`, which may be damaged. What is inside of strings does not count."""
    quotes = commas = containers = long_numbers = 0
    escape = b""
    for start in range(0, len(data), _PIECE):
        piece = (escape + data[start : start + _PIECE]).replace(rb"\\", b"").replace(rb"\"", b"")
        escape = piece[-1:] if piece.endswith(b"\\") else b""
        parts = piece.removesuffix(b"\\").split(b'"')  # every quote begins or ends a string
        outside = b"".join(parts[quotes % 2 :: 2])
        quotes += len(parts) - 1
        commas += outside.count(b",")
        containers += outside.count(b"[") + outside.count(b"{")
        long_numbers += count_long_numbers(outside)
    return JsonShape(quotes // 2, commas, containers, long_numbers)
