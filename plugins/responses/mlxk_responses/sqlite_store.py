"""Stored responses in a SQLite file, which outlive the server."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlxk_core.api import Message
from mlxk_core.api.errors import InvalidOption
from mlxk_responses.store import Bounds, StoredResponse

_TABLE = """
CREATE TABLE IF NOT EXISTS responses (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    stored REAL NOT NULL,
    size INTEGER NOT NULL,
    body BLOB NOT NULL,
    input_items BLOB NOT NULL,
    conversation BLOB NOT NULL
)
"""
_VERSION = 1
_BUSY_SECONDS = 10.0
_conversation = msgspec.json.Decoder(list[Message])


class SqliteStore:
    """A `ResponseStore` in the file at `path`, readable by its owner only. Servers may share it.

    Raises `InvalidOption` for a file that cannot be used.
    """

    def __init__(self, path: Path, bounds: Bounds, *, clock: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._bounds = bounds
        self._clock = clock
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._database = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            [version] = self._database.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise InvalidOption("responses.file", f"`{path}` was written by a newer mlxk (version {version})")
            self._database.execute(_TABLE)
            self._database.execute(f"PRAGMA user_version={_VERSION}")
        except (OSError, sqlite3.Error) as error:
            raise InvalidOption("responses.file", f"`{path}` cannot be used: {error}") from None
        with self._lock:
            self._expire()

    def put(self, response: StoredResponse, /) -> None:
        row = (
            response.id,
            response.owner,
            self._clock(),
            response.size,
            response.body,
            response.input_items,
            msgspec.json.encode(list(response.conversation)),
        )
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO responses (id, owner, stored, size, body, input_items, conversation) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            self._expire()

    def find(self, id: str, owner: str, /) -> StoredResponse | None:
        with self._lock:
            row = self._database.execute(
                "SELECT body, input_items, conversation FROM responses WHERE id = ? AND owner = ? AND stored > ?",
                (id, owner, self._clock() - self._bounds.age),
            ).fetchone()
        if row is None:
            return None
        body, input_items, conversation = row
        return StoredResponse(
            id=id, owner=owner, body=body, input_items=input_items, conversation=_conversation.decode(conversation)
        )

    def delete(self, id: str, owner: str, /) -> bool:
        with self._lock:
            return self._database.execute("DELETE FROM responses WHERE id = ? AND owner = ?", (id, owner)).rowcount > 0

    def _expire(self) -> None:
        """Drop what is too old, then the oldest until the rest is within the bounds."""
        self._database.execute("DELETE FROM responses WHERE stored <= ?", (self._clock() - self._bounds.age,))
        self._database.execute(
            "DELETE FROM responses WHERE number IN (SELECT number FROM (SELECT number, "
            "ROW_NUMBER() OVER newest AS place, SUM(size) OVER newest AS bytes FROM responses "
            "WINDOW newest AS (ORDER BY number DESC)) WHERE place > ? OR bytes > ?)",
            (self._bounds.responses, self._bounds.bytes),
        )
