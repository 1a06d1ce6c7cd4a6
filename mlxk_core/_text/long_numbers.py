"""Numbers in JSON that take far longer to read than others, with the interpreter locked."""

from __future__ import annotations

_LONG = {b"0e000": 100, b"0" * 64: 100, b"0" * 20 + b"e": 24, b"0e": 4, b"0" * 16: 4}
"""Parts of numbers, with 0 for every digit and without the point, and for how many values they count besides. To read
`1e308` takes 14 us, a number of 4,300 digits 150 us, one of 20 digits with an exponent 3 us, another one with an
exponent or many digits 0.6 us, and any other value a tenth of it."""
_ALIKE = bytes.maketrans(b"123456789E", b"000000000e")


def count_long_numbers(data: bytes) -> int:
    """Return how many values take as long to read as what is long in the numbers of `data`, JSON or a part of it."""
    alike = data.translate(_ALIKE, b"+-.")
    return sum(weight * alike.count(part) for part, weight in _LONG.items())
