"""Stored responses in a SQLite file, which outlive the server."""

from __future__ import annotations

import atexit
import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec

from mlxk_core.api import Message
from mlxk_core.api.errors import InvalidOption
from mlxk_protocol.decoders import decoder_of
from mlxk_responses.conversation_lines import InvalidConversation, decode_conversation
from mlxk_responses.damaged_responses import NOT_JSON, StoreUnavailable, damaged_response
from mlxk_responses.response_file import FileBusy, ResponseFile
from mlxk_responses.store import Bounds, StoredResponse, stored_size

_LOGGER = logging.getLogger("mlxk.responses")
_RETRY_SECONDS = 5.0
_FLUSH_SECONDS = 2.0


@dataclass(frozen=True)
class _Pending:
    """What is to be written: a response and its conversation of `size` bytes, or None for one to delete."""

    response: StoredResponse | None
    conversation: Sequence[Message] = ()
    size: int = 0


class _Body(msgspec.Struct):
    id: str


class _Conversation(list[Message]):
    """Messages that were read from the file. Weak references to it are possible."""


class SqliteStore:
    """A `ResponseStore` in the file at `path`. Servers may share it.

    A thread of its own writes: `put` is called where all streams are written, and a full disk or another process that
    locks the file must not stop those. What is not written yet, or cannot be, is kept in memory within the bounds. A
    file that is locked, also at the start, or deleted is opened again. Raises `InvalidOption` for one that cannot be
    used.
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
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._held = 0
        self._changed = threading.Condition()
        self._failing = False
        self._dropping = False
        self._decoding = threading.Lock()
        self._conversations: WeakValueDictionary[str, _Conversation] = WeakValueDictionary()
        """Those that requests have now: each would take megabytes for itself."""
        self._file: ResponseFile | None = None
        try:
            self._file = self._open()
        except FileBusy as error:
            self._report("opened", error)
        threading.Thread(target=self._write_all, name="mlxk-stored-responses", daemon=True).start()
        atexit.register(self.flush, _FLUSH_SECONDS)

    def put(self, response: StoredResponse, conversation: Sequence[Message], /) -> None:
        self._add(response.id, _Pending(response, conversation, stored_size(response, conversation)))

    def find(self, id: str, owner: str, /) -> StoredResponse | None:
        pending = self._find_pending(id)
        if pending is not None:
            found = pending.response
            return found if found is not None and found.owner == owner else None
        with self._readable() as file:
            row = file.read("body, input_items", id, owner)
            if row is None:
                return None
            body, items = row
            if decoder_of(_Body).decode(body).id != id:
                raise sqlite3.DataError("a stored response has another id")
        return StoredResponse(id=id, owner=owner, body=body, input_items=items)

    def conversation(self, id: str, owner: str, /) -> Sequence[Message] | None:
        pending = self._find_pending(id)
        if pending is not None:
            found = pending.response
            return pending.conversation if found is not None and found.owner == owner else None
        with self._readable() as file, self._decoding:  # one at a time is in memory as text
            row = file.read("conversation", id, owner)
            if row is None:
                return None
            shared = self._conversations.get(id)
            if shared is None:
                shared = self._conversations[id] = _Conversation(decode_conversation(row[0]))
            return shared

    def delete(self, id: str, owner: str, /) -> bool:
        if not self._has(id, owner):
            return False
        self._add(id, _Pending(None))
        return True

    def _has(self, id: str, owner: str) -> bool:
        """Return whether there is such a response, also one that is damaged."""
        pending = self._find_pending(id)
        if pending is not None:
            return pending.response is not None and pending.response.owner == owner
        with self._readable() as file:
            return file.read("x''", id, owner) is not None

    def flush(self, timeout: float) -> bool:
        """Wait until everything is written, at most `timeout` seconds. Return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending, timeout)

    def _find_pending(self, id: str) -> _Pending | None:
        with self._changed:
            return self._pending.get(id)

    @contextmanager
    def _readable(self) -> Iterator[ResponseFile]:
        """Yield the file. Raises `StoreUnavailable` for what cannot be read inside."""
        try:
            if self._file is None:
                raise sqlite3.OperationalError("it is not open")
            yield self._file
        except (sqlite3.DataError, InvalidConversation, *NOT_JSON) as error:
            self._report("read", error)
            raise damaged_response() from error
        except sqlite3.Error as error:
            self._report("read", error)
            raise StoreUnavailable("Stored responses cannot be read. Send the whole conversation instead.") from error

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

    def _open(self) -> ResponseFile:
        return ResponseFile(self._path, self._bounds, clock=self._clock, monotonic=self._monotonic)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending, None if self._file else _RETRY_SECONDS)
                first = next(iter(self._pending.items()), None)
            try:
                file = self._current_file()
            except (FileBusy, InvalidOption) as error:
                self._report("opened", error)
                time.sleep(_RETRY_SECONDS)
                continue
            if first is None:
                continue
            id, pending = first
            try:
                _write(file, id, pending)
            except sqlite3.DataError as error:
                _LOGGER.warning("response %s is not stored: %s", id, error)
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

    def _current_file(self) -> ResponseFile:
        """Return the open file, opened again if it was locked or is no longer the one at its path."""
        file = self._file
        if file is not None and file.is_current:
            return file
        self._file = self._open()
        if file is not None:
            _LOGGER.warning("responses.file: `%s` was replaced or deleted and is opened again", self._path)
            file.close()
        return self._file

    def _report(self, done: str, error: Exception) -> None:
        """Log a failure of the file, once until it works again."""
        if not self._failing:
            self._failing = True
            _LOGGER.error("responses.file: `%s` cannot be %s: %s", self._path, done, error)


def _write(file: ResponseFile, id: str, pending: _Pending) -> None:
    if pending.response is None:
        file.delete(id)
    else:
        file.write(pending.response, pending.conversation, pending.size)
