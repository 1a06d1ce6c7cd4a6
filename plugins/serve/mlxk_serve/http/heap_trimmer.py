"""Memory that goes back to the system after large requests."""

from __future__ import annotations

import threading

from mlxk_core.api.backends import trim_heap

LARGE = 1 << 20
"""Bytes of a body after which there is something to give back."""
_DELAY = 1.0
"""Seconds: one trim for requests that come together."""


class HeapTrimmer:
    """Trims the heap with a delay, on its own thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due = False

    def soon(self) -> None:
        """Trim the heap in a second, once for all calls until then."""
        with self._lock:
            if self._due:
                return
            self._due = True
        timer = threading.Timer(_DELAY, self._trim)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the system has no thread left: the next large request tries again
            with self._lock:
                self._due = False

    def _trim(self) -> None:
        with self._lock:
            self._due = False
        trim_heap()
