"""Human-readable sizes, counts and durations."""

from __future__ import annotations

import math
import re
from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")


def human_size(count: int) -> str:
    """Return a number of bytes as `4.2 GB`: decimal units, as the hub and disk makers use them."""
    value = float(count)
    for unit in _UNITS:
        if value < 999.95 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return `1 model` or `3 models`. `nouns` is the plural of an irregular noun."""
    return f"{count:d} {noun}" if count == 1 else f"{count:d} {nouns or noun + 's'}"


def parse_duration(value: Any) -> float:
    """Return a duration in seconds, from a number of them, `90s`, `15m`, `2h`, `1d` or `never` (infinity).

    Raises `ValueError` that says what is allowed.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and value.strip().lower() == "never":
        return math.inf
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip().lower())):
        seconds = float(match[1]) * _SECONDS[match[2]]
    else:
        raise ValueError("it must be a duration such as 90s, 15m, 2h or never")
    if not 0 < seconds < math.inf:
        raise ValueError("it must be more than 0 seconds")
    return seconds


def human_duration(seconds: float) -> str:
    """Return `15m` for 900: what `parse_duration` reads."""
    if seconds == math.inf:
        return "never"
    unit = next((unit for unit in ("d", "h", "m") if seconds % _SECONDS[unit] == 0), "s")
    return f"{seconds / _SECONDS[unit]:g}{unit}"
