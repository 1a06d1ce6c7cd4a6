"""Worker threads, with threads of their own for probes that the loop does not answer itself, for large bodies, and for
requests that are rejected.

`/health` answers while every other worker is busy, large bodies delay neither it nor the small ones, and a rejected
request gets its error at once.
"""

from __future__ import annotations

from typing import Any

from waitress.task import ThreadedTaskDispatcher

from mlxk_serve.http.turns import Turns

PROBES = frozenset({"/health", "/livez"})
_PROBE_THREADS = 2
_LATER_PROBE_THREADS = 1
"""For probes after the first of a connection: a flood of them on a few connections costs a client little."""
_ERROR_THREADS = 1
_LARGE = 256 << 10
"""Bytes of a large body: reading it takes a tenth of a second and more of the interpreter's lock."""
_LARGE_THREADS = 2


class Dispatcher:
    """Runs requests in order of arrival on `threads` threads, probes, large bodies and errors on others."""

    def __init__(self, threads: int, turns: Turns) -> None:
        self._turns = turns
        self._ordinary = _started(threads)
        self._probes = _started(_PROBE_THREADS)
        self._later_probes = _started(_LATER_PROBE_THREADS)
        self._large = _started(_LARGE_THREADS)
        self._errors = _started(_ERROR_THREADS)

    def add_task(self, task: Any) -> None:
        """Run the first request of `task`, a connection."""
        if task.keep():
            return
        request = task.requests[0]
        if request.error is not None:
            chosen = self._errors
        elif request.body_rcv is not None and len(request.body_rcv) > _LARGE:
            chosen = self._large
        elif request.path not in PROBES:
            chosen = self._ordinary
        elif task.first:
            chosen = self._probes
        else:
            chosen = self._later_probes
        in_turn = _InTurn(task, self._turns, urgent=chosen is self._probes)
        self._turns.after_loop(lambda: chosen.add_task(in_turn))

    def shutdown(self, timeout: float) -> None:
        """End all threads; wait `timeout` seconds for those that are busy."""
        for each in self._all:
            each.shutdown(timeout=timeout)

    @property
    def _all(self) -> list[_Workers]:
        return [self._ordinary, self._probes, self._later_probes, self._large, self._errors]

    @property
    def running(self) -> bool:
        """Whether a thread is still running after `shutdown`."""
        return any(each.threads for each in self._all)


class _InTurn:
    """A connection whose request is run when it is the turn of the workers."""

    def __init__(self, task: Any, turns: Turns, *, urgent: bool) -> None:
        self._task, self._turns, self._urgent = task, turns, urgent

    def service(self) -> None:
        with self._turns.of_work(urgent=self._urgent):
            self._task.service()

    def cancel(self) -> None:
        self._task.cancel()


class _Workers(ThreadedTaskDispatcher):
    """Threads that end within a time of the monotonic clock; waitress' own count it by the wall clock."""

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        self.set_thread_count(0)
        with self.lock:
            self.thread_exit_cv.wait_for(lambda: not self.threads, timeout)
        return bool(super().shutdown(cancel_pending, timeout=0))


def _started(threads: int) -> _Workers:
    workers = _Workers()
    workers.set_thread_count(threads)
    return workers
