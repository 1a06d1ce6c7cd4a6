"""Turns of the interpreter: the event loop and the workers do not run at the same time when both have much to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TOGETHER = 2
"""Pieces of work that run at once. More would not be faster: they all need the interpreter's lock."""
_BLOCKED = 0.02
"""Seconds after which a piece of work no longer counts: it waits for something, or it is long."""
_WORKING, _LONGEST_WORKING = 0.02, 0.08
"""Fewest and most seconds that the loop leaves to the workers when both have something to do. It leaves them as long as
it took itself: requests that are received faster than they are answered would wait for each other. When it takes longer
it rejects most of what comes."""
_PATIENCE = 0.05
"""Seconds after which work no longer lets urgent work begin first, so that a flood of probes does not hold it up."""
_LOOPING = 0.1
"""Seconds after which a piece of work looks again whether the loop still handles events."""


class Turns:
    """Lets the event loop and pieces of work take turns.

    Every system call gives the interpreter's lock away, and getting it back takes a millisecond for each thread that
    wants it too. With dozens of busy threads a loop would accept ten connections in a second. So nothing begins while
    the loop handles events, and few pieces of work run at once. No piece of work waits for others that are blocked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._may_begin = {urgent: threading.Condition(self._lock) for urgent in (True, False)}
        self._none_waits = threading.Condition(self._lock)
        self._looping = False
        self._looped = 0.0
        """Seconds that the loop took last."""
        self._waiting = {True: 0, False: 0}
        self._running: dict[object, float] = {}
        self._deferred: list[Callable[[], None]] = []

    @contextmanager
    def of_loop(self) -> Iterator[None]:
        """Handle events inside. Work that waits has had its time before."""
        with self._lock:
            if self._any_waits:
                seconds = min(max(_WORKING, self._looped), _LONGEST_WORKING)
                self._none_waits.wait_for(lambda: not self._any_waits, seconds)
            self._looping = True
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._looping = False
                self._looped = time.monotonic() - began
                self._notify(_TOGETHER)
                deferred, self._deferred = self._deferred, []
            for hand_out in deferred:
                hand_out()

    def after_loop(self, hand_out: Callable[[], None]) -> None:
        """Call `hand_out`, which wakes a thread, when the loop has handled its events; at once if it handles none."""
        with self._lock:
            if self._looping:
                self._deferred.append(hand_out)
                return
        hand_out()

    @contextmanager
    def of_work(self, *, urgent: bool = False) -> Iterator[None]:
        """Do one piece of work inside. Urgent ones begin before others."""
        token = object()
        with self._lock:
            self._waiting[urgent] += 1
            patient_until = time.monotonic() + _PATIENCE
            while (delay := self._delay(urgent, patient_until)) > 0:
                self._may_begin[urgent].wait(delay)
            self._waiting[urgent] -= 1
            self._running[token] = time.monotonic() + _BLOCKED
            if self._any_waits:
                self._notify(1)  # one of them has to know when this piece of work no longer counts
            else:
                self._none_waits.notify()
        try:
            yield
        finally:
            with self._lock:
                del self._running[token]
                self._notify(1)

    @property
    def _any_waits(self) -> bool:
        return any(self._waiting.values())

    def _notify(self, count: int) -> None:
        for urgent in (True, False):
            if self._waiting[urgent]:
                self._may_begin[urgent].notify(count)
                return

    def _delay(self, urgent: bool, patient_until: float) -> float:
        """Seconds after which another piece of work may begin, unless it is notified before."""
        if self._looping:
            return _LOOPING
        now = time.monotonic()
        ends = sorted(end for end in self._running.values() if end > now)
        together = _TOGETHER + (now > patient_until)
        if len(ends) >= together:
            return ends[-together] - now
        return _BLOCKED if self._waiting[True] and not urgent and now <= patient_until else 0.0
