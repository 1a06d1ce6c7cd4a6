"""Life-cycle events that wait for slow listeners: at most so many, with at most so much text in their requests."""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue
from typing import Generic, TypeVar

_T = TypeVar("_T")
_MOST_EVENTS = 1024
_MOST_CHARACTERS = 16 << 20
_LOGGER = logging.getLogger("mlxk.lifecycle")


class EventBacklog(Generic[_T]):
    """A queue of events between the threads of requests and that of the listeners. What does not fit is dropped: a
    listener that waits for a host must not keep the requests of an hour in memory."""

    def __init__(self) -> None:
        self._events: SimpleQueue[tuple[_T, int] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._count = self._characters = self._dropped = 0
        self._running = 0
        """Characters of the event that the listeners see now."""

    def put(self, event: _T, size: int) -> None:
        """Append an event with `size` characters, or drop it if too many wait. The first fits whatever its size."""
        with self._lock:
            if self._count and (self._count >= _MOST_EVENTS or self._characters + size > _MOST_CHARACTERS):
                self._dropped += 1
                dropped = self._dropped
            else:
                self._count += 1
                self._characters += size
                self._events.put((event, size))
                return
        if dropped & (dropped - 1) == 0:  # 1, 2, 4, …
            _LOGGER.warning("Lifecycle listeners are too slow: %d events were dropped.", dropped)

    def end(self) -> None:
        """Make `get` return None after the events so far."""
        self._events.put(None)

    def get(self) -> _T | None:
        """Wait for the next event. It counts until `done`."""
        found = self._events.get()
        if found is None:
            return None
        event, self._running = found
        return event

    def done(self) -> None:
        """Note that all listeners have seen the event that `get` returned last."""
        with self._lock:
            self._count -= 1
            self._characters -= self._running
