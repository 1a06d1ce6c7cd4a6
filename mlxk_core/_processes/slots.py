"""A bound on how many threads do something at once, in order of arrival."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_POLL_SECONDS = 0.1


class Slots:
    """Lets `count` threads at once do what makes all others slow; the others wait in order of arrival."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._queue: deque[threading.Event] = deque()

    @contextmanager
    def hold(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold a slot during the `with` block. `waiting` as in `take`."""
        self.take(waiting)
        try:
            yield
        finally:
            self.give_back()

    def take(self, waiting: Callable[[], None]) -> None:
        """Wait for a slot. `waiting` is called ten times a second; if it raises, nothing is taken."""
        turn = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                return
            self._queue.append(turn)
        try:
            while not turn.wait(_POLL_SECONDS):
                waiting()
        except BaseException:
            with self._lock:
                given = turn.is_set()
                if not given:
                    self._queue.remove(turn)
            if given:
                self.give_back()
            raise

    def take_now(self) -> bool:
        """Take a slot unless it means to wait. Return whether it was taken."""
        with self._lock:
            taken = self._free > 0
            self._free -= taken
        return taken

    def give_back(self) -> None:
        """Let the next one have the slot."""
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1
