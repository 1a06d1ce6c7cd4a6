"""What the event loop and the places for connections need to know about a connection."""

from __future__ import annotations

import itertools
import select
from abc import ABC, abstractmethod

HANGUP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
"""Poll events of a client that has disconnected, even while there is something to read."""
POLL_MISSES_DISCONNECTS = not hasattr(select, "POLLRDHUP")

_serials = itertools.count(1)


class Connection(ABC):
    """An open connection. All times are monotonic: a clock change closes no connection."""

    _fileno: int | None
    connected: bool

    def __init__(self) -> None:
        self.serial = next(_serials)
        """Higher than that of every connection before."""
        self.quiet = False
        """Whether the event loop has looked for events, and there were none."""

    @property
    @abstractmethod
    def last_activity(self) -> float:
        """Monotonic seconds."""

    @property
    @abstractmethod
    def busy(self) -> bool:
        """Whether a request is being processed or a response is on its way out."""

    @property
    @abstractmethod
    def lingering(self) -> bool:
        """Whether the response was sent, and only what the client still sends is discarded."""

    @property
    @abstractmethod
    def spared_since(self) -> tuple[int, float] | None:
        """Return the order in which connections are closed to make room for others, None for one that carries a
        request or may have sent one: 0 for those that are idle or were rejected, 1 for those that wait for a header or
        a body, 2 for those that send one too slowly, 3 for those that do not read their response, 4 for those whose
        request the server has had no time to read."""

    @property
    @abstractmethod
    def interest(self) -> int:
        """Return the poll events that the connection waits for."""

    @abstractmethod
    def handle(self, flags: int) -> None:
        """Handle what `poll` reports."""

    @property
    @abstractmethod
    def parsable(self) -> bool:
        """Whether the next request can be parsed, without waiting for the client."""

    @abstractmethod
    def handle_close(self) -> None:
        """Close the connection."""

    def make_room(self) -> None:
        """Close the connection for another one."""
        self.handle_close()

    @abstractmethod
    def enforce_deadlines(self, now: float) -> None:
        """Close the connection if the client takes too long."""
