"""How sizes, times, versions and states are written for a person."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from mlxk_core.api.models import Health

_UNITS = ("B", "kB", "MB", "GB", "TB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_RECENT = 30 * _DAY


def size(count: int) -> str:
    """`4.2 GB`: decimal, as the hub and disk makers count."""
    value = float(count)
    for unit in _UNITS:
        if value < 999.95 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def age(moment: datetime, now: datetime) -> str:
    """`3h ago`; a date when it is older than 30 days."""
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
    """`2026-11-22T12:00:00Z`"""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def at_least(installed: str, needed: str) -> bool:
    """Version `installed` is `needed` or a later one; what stands behind the numbers is left out of account."""
    return _numbers(installed) >= _numbers(needed)


def _numbers(version: str) -> list[int]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    return numbers + [0] * (4 - len(numbers))


def count(number: int, thing: str) -> str:
    """`1 model`, `3 models`"""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def state(health: Health) -> str:
    """Of a model's files, in a word."""
    return "healthy" if health.healthy else "damaged"
