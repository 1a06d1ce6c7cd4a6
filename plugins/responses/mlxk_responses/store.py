"""Stored responses: bounded in number, bytes and age, each visible to the key that made it only."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
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
    """Limits of the store: responses, bytes, and age in seconds. The oldest of the client that has most are dropped
    first."""

    responses: int
    bytes: int
    age: float


_OBJECT = 100
"""Bytes of a text besides its characters."""
_MESSAGE = 250
"""Bytes of a message or a call besides its texts."""


@dataclass(frozen=True, kw_only=True)
class StoredResponse:
    """A finished response. `body` is its JSON; `input_items` are those of its input, as JSON lines (`item_pages`).

    Its `owner` may read it, and it counts for its `client`: without keys there are many clients and one owner.
    """

    id: str
    owner: str
    body: bytes
    input_items: bytes
    client: str = ""


def stored_size(response: StoredResponse, conversation: Sequence[Message]) -> int:
    """Return the bytes of a response and its conversation, roughly."""
    return len(response.body) + len(response.input_items) + sum(map(_size, conversation))


def _size(message: Message) -> int:
    texts = [message.content, message.reasoning, message.tool_call_id]
    for call in message.tool_calls:
        texts += [call.id, call.name, call.arguments]
    objects = _MESSAGE * (1 + len(message.tool_calls))
    return objects + sum(_OBJECT + 2 * len(text) for text in texts if text is not None)


class ResponseStore(Protocol):
    """Storage of responses. Safe to use from any thread."""

    def put(self, response: StoredResponse, conversation: Sequence[Message], /) -> None:
        """Store `response` and what continues from it, dropping others as needed."""

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
        self._counts, self._bytes = Counter[str](), Counter[str]()
        self._bounds = bounds
        self._clock = clock

    def put(self, response: StoredResponse, conversation: Sequence[Message], /) -> None:
        size = stored_size(response, conversation)
        with self._lock:
            self._entries[response.id] = _Entry(self._clock(), response, conversation, size)
            self._counts[response.client] += 1
            self._bytes[response.client] += size
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
        limit = self._clock() - self._bounds.age
        while self._entries:
            id, entry = next(iter(self._entries.items()))
            if entry.stored_at > limit:
                break
            self._drop(id)
        self._drop_from_largest(self._counts, self._bounds.responses)
        self._drop_from_largest(self._bytes, self._bounds.bytes)

    def _drop_from_largest(self, held: Counter[str], most: int) -> None:
        """Drop the oldest response of the client that holds most until all together hold at most `most`."""
        while held.total() > most:
            [(largest, _)] = held.most_common(1)
            self._drop(next(id for id, entry in self._entries.items() if entry.response.client == largest))

    def _drop(self, id: str) -> None:
        entry = self._entries.pop(id, None)
        if entry is None:
            return
        client = entry.response.client
        for held, freed in ((self._counts, 1), (self._bytes, entry.size)):
            held[client] -= freed
            if not held[client]:
                del held[client]
