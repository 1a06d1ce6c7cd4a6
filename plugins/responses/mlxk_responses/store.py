"""Stored responses: bounded in number, bytes and age, each visible to the key that made it only."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlxk_core.api import Message
from mlxk_core.api.errors import InvalidOption, Kind


class ResponseNotFound(InvalidOption):
    """No stored response has this id, or it has expired, or another key made it."""

    kind = Kind("response_not_found", 1, 404)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limits of the store: responses, bytes, and age in seconds. The oldest are dropped first."""

    responses: int
    bytes: int
    age: float


_OBJECT = 100
"""Bytes of a text, or its share of the message it is in, besides its characters."""


@dataclass(frozen=True, kw_only=True)
class StoredResponse:
    """A finished response. `body` is its JSON; `input_items` are those of its input, as JSON lines (`item_pages`)."""

    id: str
    owner: str
    body: bytes
    input_items: bytes


def stored_size(response: StoredResponse, conversation: Sequence[Message]) -> int:
    """Return the bytes of a response and its conversation, roughly."""
    return len(response.body) + len(response.input_items) + sum(map(_size, conversation))


def _size(message: Message) -> int:
    texts = [message.content, message.reasoning, message.tool_call_id]
    for call in message.tool_calls:
        texts += [call.id, call.name, call.arguments]
    return sum(_OBJECT + 2 * len(text) for text in texts if text is not None)


class ResponseStore(Protocol):
    """Storage of responses. Safe to use from any thread."""

    def put(self, response: StoredResponse, conversation: Sequence[Message], /) -> None:
        """Store `response` and what continues from it, dropping the oldest ones as needed."""

    def find(self, id: str, owner: str, /) -> StoredResponse | None:
        """Return the stored response of that owner, or None."""

    def conversation(self, id: str, owner: str, /) -> Sequence[Message] | None:
        """Return the conversation of a response, which may take as long to read as its request did. Requests that hold
        the result share it."""

    def delete(self, id: str, owner: str, /) -> bool:
        """Delete a stored response. Return False if the owner has none of that id."""


def get(store: ResponseStore, id: str, owner: str, *, param: str) -> StoredResponse:
    """Return a stored response. Raises `ResponseNotFound`; `param` names the field or path with the id."""
    found = store.find(id, owner)
    if found is None:
        raise not_found(id, param)
    return found


def not_found(id: str, param: str) -> ResponseNotFound:
    """Return the error for an id that the client has no response of."""
    return ResponseNotFound(param, f"no stored response `{id}`")


@dataclass(frozen=True, slots=True)
class _Entry:
    stored_at: float
    response: StoredResponse
    conversation: Sequence[Message]
    size: int


class MemoryStore:
    """Responses in memory, lost when the server ends."""

    def __init__(self, bounds: Bounds, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0
        self._bounds = bounds
        self._clock = clock

    def put(self, response: StoredResponse, conversation: Sequence[Message], /) -> None:
        size = stored_size(response, conversation)
        with self._lock:
            self._entries[response.id] = _Entry(self._clock(), response, conversation, size)
            self._bytes += size
            self._expire()

    def find(self, id: str, owner: str, /) -> StoredResponse | None:
        found = self._find(id, owner)
        return found.response if found is not None else None

    def conversation(self, id: str, owner: str, /) -> Sequence[Message] | None:
        found = self._find(id, owner)
        return found.conversation if found is not None else None

    def _find(self, id: str, owner: str) -> _Entry | None:
        with self._lock:
            self._expire()
            found = self._entries.get(id)
        return found if found is not None and found.response.owner == owner else None

    def delete(self, id: str, owner: str, /) -> bool:
        found = self.find(id, owner)
        if found is not None:
            with self._lock:
                self._drop(id)
        return found is not None

    def _expire(self) -> None:
        bounds, limit = self._bounds, self._clock() - self._bounds.age
        while self._entries:
            id, entry = next(iter(self._entries.items()))
            if entry.stored_at > limit and len(self._entries) <= bounds.responses and self._bytes <= bounds.bytes:
                return
            self._drop(id)

    def _drop(self, id: str) -> None:
        entry = self._entries.pop(id, None)
        if entry is not None:
            self._bytes -= entry.size
