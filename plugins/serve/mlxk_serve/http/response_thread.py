"""The response thread: writes every open response, so that a stream costs no thread of its own."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import Protocol

from mlxk_serve.observability.log import LOGGER

_TICK = 0.25


class Advanceable(Protocol):
    """A response that the thread advances."""

    scheduled: bool

    def advance(self, now: float, /) -> None:
        """Write what there is to write and return; never block. `now` is in monotonic seconds."""


class ResponseThread:
    """One thread that advances responses when they are scheduled, and all of them four times a second."""

    def __init__(self) -> None:
        self._scheduled: SimpleQueue[Advanceable | None] = SimpleQueue()
        self._open: set[Advanceable] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="mlxk-responses", daemon=True)
        self._ticked = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread; wait `timeout` seconds for it."""
        if self._thread.is_alive():
            self._scheduled.put(None)
            self._thread.join(timeout)

    def add(self, response: Advanceable) -> None:
        """Advance `response` regularly, until `remove`."""
        with self._lock:
            self._open.add(response)
        self.schedule(response)  # a thread that waits without end begins to tick

    def remove(self, response: Advanceable) -> None:
        with self._lock:
            self._open.discard(response)

    def schedule(self, response: Advanceable) -> None:
        """Advance `response` soon. From any thread; cheap enough for every token."""
        if not response.scheduled:
            response.scheduled = True
            self._scheduled.put(response)

    def _run(self) -> None:
        while True:
            try:
                response = self._scheduled.get(timeout=_TICK if self._open else None)
            except Empty:
                self._tick(time.monotonic())
                continue
            if response is None:
                return
            now = time.monotonic()
            self._advance(response, now)
            del response  # it may be the last one for long
            if now - self._ticked >= _TICK:
                self._tick(now)

    def _tick(self, now: float) -> None:
        self._ticked = now
        with self._lock:
            responses = list(self._open)
        for response in responses:
            self._advance(response, now)

    def _advance(self, response: Advanceable, now: float) -> None:
        response.scheduled = False  # first: what is put from here on schedules it again
        try:
            response.advance(now)
        except BaseException:
            LOGGER.exception("a response could not be written")
            self.remove(response)
