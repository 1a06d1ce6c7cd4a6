"""Worker threads, with threads of their own for probes: `/health` answers while every other worker is busy."""

from __future__ import annotations

from typing import Any

from waitress.task import ThreadedTaskDispatcher

PROBES = frozenset({"/health", "/livez"})
_PROBE_THREADS = 2


class Dispatcher(ThreadedTaskDispatcher):
    """Runs requests in order of arrival on `set_thread_count` threads, and probes on two more."""

    def __init__(self) -> None:
        super().__init__()
        self._probes = ThreadedTaskDispatcher()
        self._probes.set_thread_count(_PROBE_THREADS)

    def add_task(self, task: Any) -> None:
        request = task.requests[0]
        if request.error is None and request.path in PROBES:
            self._probes.add_task(task)
        else:
            super().add_task(task)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """End all threads; wait `timeout` seconds for those that are busy."""
        probes = self._probes.shutdown(cancel_pending, timeout)
        return bool(super().shutdown(cancel_pending, timeout)) and probes

    @property
    def running(self) -> bool:
        """Whether a thread is still running after `shutdown`."""
        return bool(self.threads or self._probes.threads)
