"""`keep_alive`: how long a model stays loaded after a request."""

from __future__ import annotations

import math
import re

from mlxk_core.api.errors import InvalidOption

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([+-]?)((?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+)")
_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)")
_LONGEST = 64
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


def keep_alive_seconds(value: float | str | None) -> float | None:
    """Return `keep_alive` in seconds: a number of them, or a duration as Go writes it (`5m`, `1h30m`).

    Negative means without limit, 0 at once, None as the server is set. Raises `InvalidOption`.
    """
    if value is None or value == "":
        return None
    seconds = value if isinstance(value, int | float) else _parse(value.strip())
    if seconds is None or not math.isfinite(seconds):
        shown = value if isinstance(value, int | float) else value[:_LONGEST]
        raise InvalidOption("keep_alive", f"expected seconds or a duration such as 5m, not {shown!r}")
    return float(seconds)


def _parse(text: str) -> float | None:
    if len(text) > _LONGEST:
        return None
    if _NUMBER.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(match[2]))
    return -seconds if match[1] == "-" else seconds
