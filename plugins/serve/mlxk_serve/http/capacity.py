"""How many connections may be open, and which of them are closed to make room for new ones."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

from mlxk_serve.config import Limits
from mlxk_serve.http.connection import Connection
from mlxk_serve.observability.log import LOGGER

_SPARE = 512
"""Most places above the limit while all connections carry requests: for probes, and for errors."""
_FEWEST = 8
_LOG_INTERVAL = 60.0


class Capacity:
    """The places for `connections`: as many as `limits` and `files`, the limit of file descriptors, allow.

    Uploads, models and templates need descriptors as well: a quarter is kept for them, at most 256. Used by the loop's
    thread only.
    """

    def __init__(self, connections: Mapping[int, Connection], limits: Limits, files: int | None) -> None:
        self._connections = connections
        self.limit, self.spare = limits.connections, _SPARE
        if files is not None:
            self.spare = min(_SPARE, files // 16)
            self.limit = min(self.limit, max(_FEWEST, files - min(256, files // 4) - self.spare))
        self.closed = 0
        """Connections closed to make room."""
        self._logged = float("-inf")
        self._lingering = 0
        self._candidates: deque[tuple[tuple[int, float], Connection]] | None = None

    @property
    def connections(self) -> list[Connection]:
        """Return the open connections."""
        return list(self._connections.values())

    @property
    def exceeded(self) -> bool:
        """Whether more connections are open than the limit, those that linger aside."""
        return len(self._connections) - self._lingering > self.limit

    def begin_turn(self) -> None:
        """Forget which connections could be closed. The next `make_room` looks at all of them, once in a turn."""
        self._candidates = None
        self._lingering = sum(connection.lingering for connection in self._connections.values())

    def reserve(self) -> bool:
        """Return whether one more connection may be accepted: at the limit there are the spare places, and in them
        requests are answered with an error at once."""
        return len(self._connections) < self.limit + self.spare or self.make_room()

    def admit(self) -> bool:
        """Return whether there is a place for one that was accepted; above the limit, another one is closed for it."""
        return len(self._connections) < self.limit or self.make_room()

    def reclaim(self) -> bool:
        """Return whether a request above the limit may be answered: a place is free by now, or another connection was
        closed for it."""
        return not self.exceeded or self.make_room()

    def make_room(self) -> bool:
        """Close the connection that can best be spared (`Connection.spared_since`). Returns False if there is none."""
        if self._candidates is None:
            found = [(key, each) for each in self.connections if (key := each.spared_since) is not None]
            self._candidates = deque(sorted(found, key=lambda each: each[0]))
        while self._candidates:
            key, connection = self._candidates.popleft()
            if connection.connected and connection.spared_since == key:
                self._lingering -= connection.lingering
                connection.make_room()
                self.count_closed()
                return True
        return False

    def count_closed(self) -> None:
        """Count a connection that was closed to make room, and log it once in a while."""
        self.closed += 1
        now = time.monotonic()
        if now - self._logged >= _LOG_INTERVAL:
            LOGGER.warning("too many connections (limit %d): closing those without a complete request", self.limit)
            self._logged = now
