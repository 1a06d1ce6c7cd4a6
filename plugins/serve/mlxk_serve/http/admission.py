"""Admission: how many requests may run or wait, in all and for each client."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from mlxk_core.api.errors import QueueFull

SHARE = 4
"""The factor between the limit of all clients together and the limit of one client."""


class Admission:
    """Counts admitted requests. One client may have `places` of them; another client then still finds free ones.

    `retry_after` estimates the seconds until one of the waiting requests ends.
    """

    def __init__(self, places: int, queue: int, retry_after: Callable[[], int]) -> None:
        self.places = places
        self._queue = queue
        self._retry_after = retry_after
        self._lock = threading.Lock()
        self._admitted: Counter[str] = Counter()

    def enter(self, client: str, count: int) -> None:
        """Admit `count` requests of `client`; none are always admitted. Raises `QueueFull`."""
        with self._lock:
            full = self._admitted.total() + count > self.places * SHARE
            if full or self._admitted[client] + count > self.places:
                raise QueueFull(self._queue, retry_after=self._retry_after())
            self._admitted[client] += count

    def leave(self, client: str, count: int) -> None:
        """Free the places of `count` requests."""
        with self._lock:
            self._admitted[client] -= count
            if not self._admitted[client]:
                del self._admitted[client]
