"""Sizes and counts as a person reads them."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")


def human_size(count: int) -> str:
    """Return a number of bytes as `4.2 GB`: decimal units, as the hub and disk makers use them."""
    value = float(count)
    for unit in _UNITS:
        if value < 999.95 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return `1 model` or `3 models`. `nouns` is the plural where an `s` does not make it."""
    return f"{count:d} {noun}" if count == 1 else f"{count:d} {nouns or noun + 's'}"
