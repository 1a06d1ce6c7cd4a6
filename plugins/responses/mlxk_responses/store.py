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
    """A finished response. `body` is its JSON, `input_items` that of its input; `conversation` continues from it."""

    id: str
    owner: str
    body: bytes
    input_items: bytes
    conversation: Sequence[Message]

    @property
    def size(self) -> int:
        """Bytes, roughly: JSON and conversation."""
        return len(self.body) + len(self.input_items) + sum(map(_size, self.conversation))


def _size(message: Message) -> int:
    texts = [message.content, message.reasoning, message.tool_call_id]
    for call in message.tool_calls:
        texts += [call.id, call.name, call.arguments]
    return sum(_OBJECT + 2 * len(text) for text in texts if text is not None)


class ResponseStore(Protocol):
    """Storage of responses. Safe to use from any thread."""

    def put(self, response: StoredResponse, /) -> None:
        """Store `response`, dropping the oldest ones as needed."""

    def find(self, id: str, owner: str, /) -> StoredResponse | None:
        """Return the stored response of that owner, or None."""

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


class MemoryStore:
    """Responses in memory, lost when the server ends."""

    def __init__(self, bounds: Bounds, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[float, StoredResponse]] = OrderedDict()
        self._bytes = 0
        self._bounds = bounds
        self._clock = clock

    def put(self, response: StoredResponse, /) -> None:
        with self._lock:
            self._entries[response.id] = (self._clock(), response)
            self._bytes += response.size
            self._expire()

    def find(self, id: str, owner: str, /) -> StoredResponse | None:
        with self._lock:
            self._expire()
            _, found = self._entries.get(id, (0.0, None))
        return found if found is not None and found.owner == owner else None

    def delete(self, id: str, owner: str, /) -> bool:
        found = self.find(id, owner)
        if found is not None:
            with self._lock:
                self._drop(id)
        return found is not None

    def _expire(self) -> None:
        bounds, limit = self._bounds, self._clock() - self._bounds.age
        while self._entries:
            id, (stored, _) = next(iter(self._entries.items()))
            if stored > limit and len(self._entries) <= bounds.responses and self._bytes <= bounds.bytes:
                return
            self._drop(id)

    def _drop(self, id: str) -> None:
        _, response = self._entries.pop(id, (0.0, None))
        if response is not None:
            self._bytes -= response.size
