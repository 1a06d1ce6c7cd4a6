"""Worker threads, with threads of their own for probes and for large bodies.

`/health` answers while every other worker is busy, and large bodies delay neither it nor the small ones.
"""

from __future__ import annotations

from typing import Any

from waitress.task import ThreadedTaskDispatcher

PROBES = frozenset({"/health", "/livez"})
_PROBE_THREADS = 2
_LARGE = 256 << 10
"""Bytes of a large body: reading it takes a tenth of a second and more of the interpreter's lock."""
_LARGE_THREADS = 2


class Dispatcher(ThreadedTaskDispatcher):
    """Runs requests in order of arrival on `set_thread_count` threads, probes and large bodies on two more each."""

    def __init__(self) -> None:
        super().__init__()
        self._probes = ThreadedTaskDispatcher()
        self._probes.set_thread_count(_PROBE_THREADS)
        self._large = ThreadedTaskDispatcher()
        self._large.set_thread_count(_LARGE_THREADS)

    def add_task(self, task: Any) -> None:
        request = task.requests[0]
        if request.error is None and request.body_rcv is not None and len(request.body_rcv) > _LARGE:
            self._large.add_task(task)
        elif request.error is None and request.path in PROBES:
            self._probes.add_task(task)
        else:
            super().add_task(task)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """End all threads; wait `timeout` seconds for those that are busy."""
        others = [each.shutdown(cancel_pending, timeout) for each in (self._probes, self._large)]
        return bool(super().shutdown(cancel_pending, timeout)) and all(others)

    @property
    def running(self) -> bool:
        """Whether a thread is still running after `shutdown`."""
        return bool(self.threads or self._probes.threads or self._large.threads)
