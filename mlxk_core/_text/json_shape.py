"""How many values a JSON text has, before anything is built from it."""

from __future__ import annotations

from typing import NamedTuple

_PIECE = 64 << 10
"""Bytes that are looked at in one call: the interpreter is locked meanwhile, and megabytes of quotes take a second."""
_LONG = {b"e000": 100, b"0" * 64: 100, b"0" * 20 + b"e": 24, b"0e": 4, b"0" * 16: 4}
"""Parts of numbers, with 0 for every digit and without the point, and for how many values they count besides. To read
`1e308` takes 14 us, a number of 4,300 digits 150 us, one of 20 digits with an exponent 3 us, another one with an
exponent or many digits 0.6 us, and any other value a tenth of it."""
_ALIKE = bytes.maketrans(b"123456789E", b"000000000e")


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
        alike = outside.translate(_ALIKE, b"+-.")
        long_numbers += sum(weight * alike.count(part) for part, weight in _LONG.items())
    return JsonShape(quotes // 2, commas, containers, long_numbers)
