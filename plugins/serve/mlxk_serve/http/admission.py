"""Admission: how many requests may run or wait, with how many bytes, in all and for each client."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from mlxk_core.api.errors import QueueFull
from mlxk_core.api.server import ApiError

SHARE = 4
"""The factor between the limit of all clients together and the limit of one client."""
_BYTES_SHARE = 2


class Admission:
    """Counts admitted requests. One client may have `places` of them; another client then still finds free ones.

    All together have `most_bytes` in their bodies, one client half of it: what is read from a body may stay in memory
    until its response ends. `retry_after` estimates the seconds until one of the waiting requests ends.
    """

    def __init__(self, places: int, queue: int, most_bytes: int, retry_after: Callable[[], int]) -> None:
        self.places = places
        self._most_bytes = most_bytes
        self._queue = queue
        self._retry_after = retry_after
        self._lock = threading.Lock()
        self._admitted: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def enter(self, client: str, count: int, size: int) -> None:
        """Admit `count` requests of `client` that came in one body of `size` bytes; with no request, or no byte, that
        limit does not apply. Raises `QueueFull`, and `ApiError` (503) if the bodies are too large."""
        with self._lock:
            full = self._admitted.total() + count > self.places * SHARE
            if full or self._admitted[client] + count > self.places:
                raise QueueFull(self._queue, retry_after=self._retry_after())
            full = self._bytes.total() + size > self._most_bytes
            if size and (full or self._bytes[client] + size > self._most_bytes // _BYTES_SHARE):
                raise ApiError(
                    503,
                    "Too many requests with large bodies are running or waiting.",
                    code="too_many_bodies",
                    headers={"retry-after": str(self._retry_after())},
                )
            self._admitted[client] += count
            self._bytes[client] += size

    def leave(self, client: str, count: int, size: int) -> None:
        """Free the places of `count` requests, and the bytes of their body."""
        with self._lock:
            for held, freed in ((self._admitted, count), (self._bytes, size)):
                held[client] -= freed
                if not held[client]:
                    del held[client]
