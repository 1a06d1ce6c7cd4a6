"""Human-readable times, and comparison of versions."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_RECENT = 30 * _DAY


def age(moment: datetime, now: datetime) -> str:
    """Return `3h ago`, or the date if it is more than 30 days ago."""
    seconds = (now - moment).total_seconds()
    if seconds < _MINUTE:
        return "just now"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f}m ago"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f}h ago"
    if seconds < _RECENT:
        return f"{seconds // _DAY:.0f}d ago"
    return f"{moment.astimezone():%Y-%m-%d}"


def timestamp(moment: datetime) -> str:
    """Return `2026-11-22T12:00:00Z`."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def at_least(installed: str, needed: str) -> bool:
    """Return whether version `installed` is `needed` or later. Suffixes such as `rc1` do not count."""
    return _numbers(installed) >= _numbers(needed)


def _numbers(version: str) -> list[int]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    return numbers + [0] * (4 - len(numbers))
