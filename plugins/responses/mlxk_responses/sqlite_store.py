"""Stored responses in a SQLite file, which outlive the server."""

from __future__ import annotations

import atexit
import logging
import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mlxk_core.api import Message
from mlxk_core.api.errors import InvalidOption, Kind, MlxkError
from mlxk_protocol.decoders import decoder_of
from mlxk_responses.item_pages import encode_items
from mlxk_responses.row_ages import RowAges
from mlxk_responses.store import Bounds, StoredResponse, stored_size

_LOGGER = logging.getLogger("mlxk.responses")
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
_VERSION = 2
"""2: input items as JSON lines, 1: as an array."""
_BUSY_SECONDS = 10.0
_READ_SECONDS = 2.0
"""A reader waits on a worker of the server, for a writer of another process that was stopped."""
_RETRY_SECONDS = 5.0
_FLUSH_SECONDS = 2.0


class StoreUnavailable(MlxkError):
    """The file of stored responses cannot be read."""

    kind = Kind("store_unavailable", 1, 503)


@dataclass(frozen=True)
class _Pending:
    """What is to be written: a response and its conversation of `size` bytes, or None for one to delete."""

    response: StoredResponse | None
    conversation: Sequence[Message] = ()
    size: int = 0


class SqliteStore:
    """A `ResponseStore` in the file at `path`, readable by its owner only. Servers may share it.

    A thread of its own writes: `put` is called where all streams are written, and a full disk or another process that
    locks the file must not stop those. What is not written yet, or cannot be, is kept in memory within the bounds.
    Raises `InvalidOption` for a file that cannot be used.
    """

    def __init__(
        self,
        path: Path,
        bounds: Bounds,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._bounds = bounds
        self._clock = clock
        self._monotonic = monotonic
        self._ages = RowAges(bounds.age)
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._held = 0
        self._changed = threading.Condition()
        self._reading = threading.Lock()
        self._failing = False
        self._dropping = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._database = self._open()
            self._database.execute("PRAGMA journal_mode=TRUNCATE")  # WAL maps a file: another's truncation ends us
            self._prepare()
            self._expire()
            self._reader = self._open(_READ_SECONDS)  # with one connection readers would wait for writes
        except (OSError, sqlite3.Error) as error:
            raise InvalidOption("responses.file", f"`{path}` cannot be used: {error}") from None
        threading.Thread(target=self._write_all, name="mlxk-stored-responses", daemon=True).start()
        atexit.register(self.flush, _FLUSH_SECONDS)

    def put(self, response: StoredResponse, conversation: Sequence[Message], /) -> None:
        self._add(response.id, _Pending(response, conversation, stored_size(response, conversation)))

    def find(self, id: str, owner: str, /) -> StoredResponse | None:
        pending = self._find_pending(id)
        if pending is not None:
            found = pending.response
            return found if found is not None and found.owner == owner else None
        with self._readable():
            row = self._read("body, input_items", id, owner)
        return StoredResponse(id=id, owner=owner, body=row[0], input_items=row[1]) if row is not None else None

    def conversation(self, id: str, owner: str, /) -> Sequence[Message] | None:
        pending = self._find_pending(id)
        if pending is not None:
            found = pending.response
            return pending.conversation if found is not None and found.owner == owner else None
        with self._readable():
            row = self._read("conversation", id, owner)
            return decoder_of(list[Message]).decode(row[0]) if row is not None else None

    def delete(self, id: str, owner: str, /) -> bool:
        if self.find(id, owner) is None:
            return False
        self._add(id, _Pending(None))
        return True

    def flush(self, timeout: float) -> bool:
        """Wait until everything is written, at most `timeout` seconds. Return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending, timeout)

    def _find_pending(self, id: str) -> _Pending | None:
        with self._changed:
            return self._pending.get(id)

    def _read(self, columns: str, id: str, owner: str) -> tuple[bytes, ...] | None:
        if not self._reading.acquire(timeout=_READ_SECONDS):
            raise sqlite3.OperationalError("others wait for it")
        try:
            row: tuple[bytes, ...] | None = self._reader.execute(
                f"SELECT {columns} FROM responses WHERE id = ? AND owner = ? AND stored > ?",
                (id, owner, self._clock() - self._bounds.age),
            ).fetchone()
        finally:
            self._reading.release()
        if row is not None and not all(isinstance(value, bytes) for value in row):
            raise sqlite3.DataError("a value has another type")
        return row

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Raise `StoreUnavailable` for what cannot be read inside."""
        try:
            yield
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            self._report("read", error)
            raise StoreUnavailable("Stored responses cannot be read. Send the whole conversation instead.") from error

    def _prepare(self) -> None:
        """Bring the file to this version, in one transaction: another server may open it at the same time."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            [version] = self._database.execute("PRAGMA user_version").fetchone()
            if version not in range(_VERSION + 1):
                raise InvalidOption("responses.file", f"`{self._path}` was written by a newer mlxk (version {version})")
            self._database.execute(_TABLE)
            if version == 1:
                self._rewrite_items()
            self._database.execute(f"PRAGMA user_version={_VERSION}")
            self._database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # it may be over already
                self._database.execute("ROLLBACK")
            raise

    def _rewrite_items(self) -> None:
        """Bring the input items of version 1 into the form of version 2. Responses without such items are deleted."""
        for [number] in self._database.execute("SELECT number FROM responses").fetchall():
            [items] = self._database.execute("SELECT input_items FROM responses WHERE number = ?", (number,)).fetchone()
            try:
                lines = encode_items(msgspec.json.decode(items, type=list[dict[str, Any]]))
            except (TypeError, msgspec.MsgspecError):
                self._database.execute("DELETE FROM responses WHERE number = ?", (number,))
            else:
                self._database.execute("UPDATE responses SET input_items = ? WHERE number = ?", (lines, number))

    def _add(self, id: str, pending: _Pending) -> None:
        with self._changed:
            self._remove(id)
            self._pending[id] = pending
            self._held += pending.size
            while self._held > self._bounds.bytes or len(self._pending) > self._bounds.responses:
                # Deletions stay: the client was told that its response is gone.
                dropped = next((old for old, each in self._pending.items() if each.response is not None), None)
                if dropped is None:
                    break
                self._remove(dropped)
                if not self._dropping:  # once until a write succeeds
                    self._dropping = True
                    _LOGGER.warning("response %s is not stored: too many wait to be written", dropped)
            self._changed.notify_all()

    def _remove(self, id: str) -> None:
        removed = self._pending.pop(id, None)
        if removed is not None:
            self._held -= removed.size

    def _open(self, seconds: float = _BUSY_SECONDS) -> sqlite3.Connection:
        """Open the file. A statement waits for other processes for so many seconds."""
        database = sqlite3.connect(self._path, timeout=seconds, check_same_thread=False, isolation_level=None)
        database.execute("PRAGMA synchronous=NORMAL")
        return database

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending)
                id, pending = next(iter(self._pending.items()))
            try:
                self._write(id, pending)
            except sqlite3.Error as error:
                self._report("written", error)
                time.sleep(_RETRY_SECONDS)
                continue
            except Exception:  # not a matter of the file: the next try would fail as well
                _LOGGER.exception("response %s could not be stored", id)
            else:
                self._failing = self._dropping = False
            with self._changed:
                if self._pending.get(id) is pending:  # else deleted or replaced meanwhile
                    self._remove(id)
                self._changed.notify_all()

    def _write(self, id: str, pending: _Pending) -> None:
        response = pending.response
        if response is None:
            self._database.execute("DELETE FROM responses WHERE id = ?", (id,))
            return
        conversation = msgspec.json.encode(list(pending.conversation))
        self._database.execute(
            "INSERT OR REPLACE INTO responses (id, owner, stored, size, body, input_items, conversation) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (id, response.owner, self._clock(), pending.size, response.body, response.input_items, conversation),
        )
        self._expire()

    def _report(self, done: str, error: Exception) -> None:
        """Log a failure of the file, once until it works again."""
        if not self._failing:
            self._failing = True
            _LOGGER.error("responses.file: `%s` cannot be %s: %s", self._path, done, error)

    def _expire(self) -> None:
        """Drop what is too old, then the oldest until the rest is within the bounds.

        `find` hides what is too old by the wall clock. That may be wrong for a while, so a row is deleted only after
        this process has seen it for that long.
        """
        now = self._monotonic()
        [last_row] = self._database.execute("SELECT MAX(number) FROM responses").fetchone()
        self._ages.seen(last_row or 0, now)
        self._database.execute("DELETE FROM responses WHERE number <= ?", (self._ages.last_expired(now),))
        self._database.execute(
            "DELETE FROM responses WHERE number IN (SELECT number FROM (SELECT number, "
            "ROW_NUMBER() OVER newest AS place, SUM(size) OVER newest AS bytes FROM responses "
            "WINDOW newest AS (ORDER BY number DESC)) WHERE place > ? OR bytes > ?)",
            (self._bounds.responses, self._bounds.bytes),
        )
