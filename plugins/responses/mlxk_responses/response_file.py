"""The SQLite file of stored responses: its table, its versions, and what is dropped from it."""

from __future__ import annotations

import math
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mlxk_core.api import Message
from mlxk_core.api.errors import InvalidOption
from mlxk_responses.conversation_lines import encode_conversation
from mlxk_responses.row_ages import RowAges
from mlxk_responses.store import Bounds, StoredResponse
from mlxk_responses.surplus_rows import surplus
from mlxk_responses.untrusted_sqlite import LimitedConnection

_TABLE = """
CREATE TABLE IF NOT EXISTS responses (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    stored REAL NOT NULL,
    size INTEGER NOT NULL,
    body BLOB NOT NULL,
    input_items BLOB NOT NULL,
    conversation BLOB NOT NULL,
    client TEXT NOT NULL DEFAULT ''
)
"""
_COLUMNS = frozenset({
    "number INTEGER", "id TEXT", "owner TEXT", "stored REAL", "size INTEGER", "body BLOB", "input_items BLOB",
    "conversation BLOB", "client TEXT",
})  # fmt: skip
_VERSION = 3
"""3: conversations as JSON lines, 2: as an array, which can still be read; 1: input items as an array, too."""
_BUSY_SECONDS = 10.0
_READ_SECONDS = 2.0
"""A reader waits on a worker of the server, for a writer of another process that was stopped; for as long after that,
others do not wait."""
_WRITE_SECONDS = 60.0
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_TOO_SLOW = (*_BUSY, sqlite3.SQLITE_INTERRUPT)
_LARGEST_ROW = 64 << 20
_SMALLEST_LIMIT = 1 << 16
"""Bytes; the statements of the schema are rows too."""
_MOST_SURPLUS = 1000
"""Rows beyond their number that are looked at, to drop those of the client that has most."""


class FileBusy(Exception):
    """Another process holds the file."""


class ResponseFile:
    """The file at `path`, open. Readable by its owner only; several processes may have it open.

    Writes come from one thread, reads from any. Raises `FileBusy` if another process does not let go of the file, and
    `InvalidOption` if it cannot be used.
    """

    def __init__(
        self, path: Path, bounds: Bounds, *, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._path = path
        self._bounds = bounds
        self._largest_row = min(_LARGEST_ROW, max(bounds.bytes, _SMALLEST_LIMIT))
        self._clock = clock
        self._monotonic = monotonic
        self._ages = RowAges(bounds.age)
        self._reading = threading.Lock()
        self._busy_until = -math.inf
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._identity = _identity(path)
            self._database = self._open(_BUSY_SECONDS, _WRITE_SECONDS)
            self._database.execute("PRAGMA journal_mode=TRUNCATE")  # WAL maps a file: another's truncation ends us
            self._prepare()
            self._expire()
            self._reader = self._open(_READ_SECONDS, _READ_SECONDS)  # with one connection readers would wait for writes
        except (OSError, sqlite3.Error, UnicodeDecodeError) as error:  # the last of a damaged schema
            if getattr(error, "sqlite_errorcode", None) in _BUSY:
                raise FileBusy(str(error)) from error
            raise InvalidOption("responses.file", f"`{path}` cannot be used: {error}") from None

    @property
    def is_current(self) -> bool:
        """Whether the file is still the one at its path: what is written to one that was deleted is lost."""
        return _identity(self._path) == self._identity

    def close(self) -> None:
        with self._reading:
            for connection in (self._database, self._reader):
                with suppress(sqlite3.Error):
                    connection.close()

    def read(self, columns: str, id: str, owner: str) -> tuple[bytes, ...] | None:
        """Return the columns of a response of that owner. Raises `sqlite3.Error`, of which `sqlite3.DataError` is for a
        row that mlxk does not write, such as one of more than 64 MiB."""
        if self._monotonic() < self._busy_until or not self._reading.acquire(timeout=_READ_SECONDS):
            raise sqlite3.OperationalError("others wait for it")
        try:
            if self._monotonic() < self._busy_until:
                raise sqlite3.OperationalError("others have waited for it")
            row: tuple[bytes, ...] | None = self._reader.execute(
                f"SELECT {columns} FROM responses WHERE id = ? AND owner = ? AND stored > ?",
                (id, owner, self._clock() - self._bounds.age),
            ).fetchone()
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) in _TOO_SLOW:
                self._busy_until = self._monotonic() + _READ_SECONDS
            raise
        finally:
            self._reading.release()
        if row is not None and not all(isinstance(value, bytes) for value in row):
            raise sqlite3.DataError("a value has another type")
        return row

    def delete(self, id: str) -> None:
        """Delete a response, if there is one of that id. Raises `sqlite3.Error`."""
        self._database.execute("DELETE FROM responses WHERE id = ?", (id,))

    def write(self, response: StoredResponse, conversation: Sequence[Message], size: int) -> None:
        """Store `response`, which has `size` bytes with its conversation, and drop what is out of bounds. Raises
        `sqlite3.Error`, of which `sqlite3.DataError` is for one that is too large for a row."""
        encoded = encode_conversation(conversation)
        length = len(response.body) + len(response.input_items) + len(encoded)
        if length > self._largest_row - _SMALLEST_LIMIT // 2:
            raise sqlite3.DataError(f"it has {length:,} bytes (at most about {self._largest_row:,})")
        self._database.execute(
            "INSERT OR REPLACE INTO responses (id, owner, stored, size, body, input_items, conversation, client) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                response.id,
                response.owner,
                self._clock(),
                size,
                response.body,
                response.input_items,
                encoded,
                response.client,
            ),
        )
        self._expire()

    def _open(self, busy_seconds: float, seconds: float) -> LimitedConnection:
        """Open the file. A statement waits for other processes for `busy_seconds`, and runs for `seconds`."""
        database = sqlite3.connect(
            self._path, timeout=busy_seconds, check_same_thread=False, isolation_level=None, factory=LimitedConnection
        )
        database.limit(longest_value=self._largest_row, seconds=seconds)
        database.execute("PRAGMA synchronous=NORMAL")
        return database

    def _prepare(self) -> None:
        """Bring the file to this version, in one transaction: another server may open it at the same time."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            [version] = self._database.execute("PRAGMA user_version").fetchone()
            if version not in range(_VERSION + 1):
                raise InvalidOption("responses.file", f"`{self._path}` was written by a newer mlxk (version {version})")
            self._database.execute(_TABLE)
            if version == 1:
                self._database.execute("DELETE FROM responses")
            if "client" not in [column[1] for column in self._database.execute("PRAGMA table_info(responses)")]:
                self._database.execute("ALTER TABLE responses ADD COLUMN client TEXT NOT NULL DEFAULT ''")
            table = self._database.execute("SELECT name, type FROM pragma_table_info('responses')").fetchmany(100)
            if missing := _COLUMNS - {f"{name} {type}" for name, type in table}:
                raise InvalidOption("responses.file", f"`{self._path}` has another table: no {', '.join(missing)}")
            self._database.execute(f"PRAGMA user_version={_VERSION}")
            self._database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # it may be over already
                self._database.execute("ROLLBACK")
            raise

    def _expire(self) -> None:
        """Drop what is too old, then the oldest of the client that has most until the rest is within the bounds.

        `read` hides what is too old by the wall clock. That may be wrong for a while, so a row is deleted only after
        this process has seen it for that long.
        """
        now = self._monotonic()
        [last_row] = self._database.execute("SELECT MAX(number) FROM responses").fetchone()
        self._ages.seen(last_row or 0, now)
        self._database.execute("DELETE FROM responses WHERE number <= ?", (self._ages.last_expired(now),))
        self._database.execute(
            "DELETE FROM responses WHERE number <= "
            "(SELECT number FROM responses ORDER BY number DESC LIMIT 1 OFFSET ?)",
            (self._bounds.responses + _MOST_SURPLUS,),
        )
        [count, size] = self._database.execute("SELECT COUNT(*), TOTAL(size) FROM responses").fetchone()
        if count > self._bounds.responses or size > self._bounds.bytes:
            rows = self._database.execute(
                "SELECT number, CAST(substr(client, 1, 64) AS TEXT), MAX(CAST(size AS INTEGER), 0) FROM responses "
                "ORDER BY number"
            )
            dropped = surplus(rows, self._bounds)
            for begin in range(0, len(dropped), _MOST_SURPLUS):
                part = dropped[begin : begin + _MOST_SURPLUS]
                marks = ",".join("?" * len(part))
                self._database.execute(f"DELETE FROM responses WHERE number IN ({marks})", part)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at `path` from another one there, None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
