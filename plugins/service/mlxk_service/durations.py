"""Human-readable durations."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return seconds in the largest unit that fits."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
