"""Unix times as dates. A file or a database holds any number, if the clock was wrong or the file system is damaged."""

from __future__ import annotations

from datetime import UTC, datetime

_FIRST = datetime(1, 1, 3, tzinfo=UTC).timestamp()
_LAST = datetime(9999, 12, 29, tzinfo=UTC).timestamp()
"""Two days from the ends of the calendar: every time zone has a date for what is in between."""


def moment_of(seconds: float) -> datetime | None:
    """Return a Unix time in seconds as a date, UTC; None outside of the calendar, years 1 to 9999."""
    return datetime.fromtimestamp(seconds, UTC) if _FIRST <= seconds <= _LAST else None
