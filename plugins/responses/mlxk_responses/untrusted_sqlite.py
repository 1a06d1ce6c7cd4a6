"""Connections to a SQLite file that other programs may have written."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

_INSTRUCTIONS = 10_000
"""Of SQLite's machine, between two looks at the clock: some tenths of a millisecond."""


class LimitedConnection(sqlite3.Connection):
    """A connection whose statements are limited, whatever the file has in the place of its tables.

    Views and triggers cannot be used: they may compute any text, and without end.
    """

    def limit(self, *, longest_value: int, seconds: float) -> None:
        """Limit the bytes of a value, and the seconds of each statement from its first row on. To be called once."""
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest_value)
        self.set_authorizer(_deny_views)
        self.set_progress_handler(lambda: time.monotonic() > self._until, _INSTRUCTIONS)

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self._until = time.monotonic() + self._seconds
        return super().execute(*arguments)


def _deny_views(action: int, first: str | None, second: str | None, database: str | None, source: str | None) -> int:
    """Deny what does not come from a statement itself but from a view or a trigger, `source`."""
    return sqlite3.SQLITE_DENY if source is not None else sqlite3.SQLITE_OK
