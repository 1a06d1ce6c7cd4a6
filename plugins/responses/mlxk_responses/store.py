"""Stored responses: bounded in number, bytes and age, each visible to the key that made it only."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlxk_core.api import Message
from mlxk_core.api.errors import InvalidOption, Kind

MAX_RESPONSES = 1_000
MAX_BYTES = 64 * 2**20
MAX_AGE = 24 * 3600.0
"""Seconds."""


class ResponseNotFound(InvalidOption):
    """No stored response has this id, or it has expired, or another key made it."""

    kind = Kind("response_not_found", 1, 404)


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
        texts = sum(len(m.content) + len(m.reasoning or "") for m in self.conversation)
        return len(self.body) + len(self.input_items) + 2 * texts


class ResponseStore:
    """Responses in memory; the oldest are dropped when a bound is reached. Used from any thread."""

    def __init__(
        self,
        *,
        max_responses: int = MAX_RESPONSES,
        max_bytes: int = MAX_BYTES,
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[float, StoredResponse]] = OrderedDict()
        self._bytes = 0
        self._max_responses, self._max_bytes, self._max_age = max_responses, max_bytes, max_age
        self._clock = clock

    def put(self, response: StoredResponse) -> None:
        """Store `response`, dropping the oldest ones as needed."""
        with self._lock:
            self._entries[response.id] = (self._clock(), response)
            self._bytes += response.size
            self._expire()

    def get(self, id: str, owner: str, *, param: str) -> StoredResponse:
        """Return a stored response. Raises `ResponseNotFound`; `param` names the field or path with the id."""
        with self._lock:
            self._expire()
            _, found = self._entries.get(id, (0.0, None))
        if found is None or found.owner != owner:
            raise ResponseNotFound(param, f"no stored response `{id}`")
        return found

    def delete(self, id: str, owner: str, *, param: str) -> None:
        """Delete a stored response. Raises `ResponseNotFound`."""
        self.get(id, owner, param=param)
        with self._lock:
            self._drop(id)

    def __len__(self) -> int:
        return len(self._entries)

    def _expire(self) -> None:
        limit = self._clock() - self._max_age
        while self._entries:
            id, (stored, _) = next(iter(self._entries.items()))
            if stored > limit and len(self._entries) <= self._max_responses and self._bytes <= self._max_bytes:
                return
            self._drop(id)

    def _drop(self, id: str) -> None:
        _, response = self._entries.pop(id, (0.0, None))
        if response is not None:
            self._bytes -= response.size
