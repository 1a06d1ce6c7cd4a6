"""Worker threads, with threads of their own for probes that the loop does not answer itself, for large bodies, and for
requests that are rejected.

`/health` answers while every other worker is busy, large bodies delay neither it nor the small ones, a rejected request
gets its error at once, and the clients have their turns: reading a request takes up to a tenth of a second.
"""

from __future__ import annotations

from typing import Any

from waitress.task import ThreadedTaskDispatcher

from mlxk_core.api.processes import ClientQueues
from mlxk_serve.http.client_ids import ClientIds
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
    """Runs requests on `threads` threads, probes, large bodies and errors on others. The clients, which `client_ids`
    tells apart, have their turns."""

    def __init__(self, threads: int, turns: Turns, client_ids: ClientIds) -> None:
        self._turns = turns
        self._client_ids = client_ids
        self._ordinary = _started(threads)
        self._probes = _started(_PROBE_THREADS)
        self._later_probes = _started(_LATER_PROBE_THREADS)
        self._large = _started(_LARGE_THREADS)
        self._errors = _started(_ERROR_THREADS)

    def add_task(self, task: Any) -> None:
        """Run the first request of `task`, a connection, when its client has the responses before."""
        if task.total_outbufs_len:
            task.on_room(lambda: self._hand_over(task), unsent=0)
        elif not task.keep():
            self._hand_over(task)

    def _hand_over(self, task: Any) -> None:
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
        in_turn = _InTurn(task, self._turns, self._client(task, request), urgent=chosen is self._probes)
        self._turns.after_loop(lambda: chosen.add_task(in_turn))

    def _client(self, task: Any, request: Any) -> str:
        headers, address = request.headers, task.addr[0] if task.addr else None
        return self._client_ids.of(headers.get("AUTHORIZATION"), headers.get("X_API_KEY"), address).id

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

    def __init__(self, task: Any, turns: Turns, client: str, *, urgent: bool) -> None:
        self._task, self._turns, self._urgent = task, turns, urgent
        self.client = client

    def service(self) -> None:
        with self._turns.of_work(urgent=self._urgent):
            self._task.service()

    def cancel(self) -> None:
        self._task.cancel()


class _Queue:
    """What `_Workers` have to do, with the methods that waitress calls: the clients have their turns."""

    def __init__(self) -> None:
        self._tasks = ClientQueues[str, _InTurn]()

    def __len__(self) -> int:
        return len(self._tasks)

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def append(self, task: _InTurn) -> None:
        self._tasks.append(task.client, task)

    def popleft(self) -> _InTurn:
        return self._tasks.take(next(iter(self._tasks)))


class _Workers(ThreadedTaskDispatcher):
    """Threads that end within a time of the monotonic clock; waitress' own count it by the wall clock."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = _Queue()

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        self.set_thread_count(0)
        with self.lock:
            self.thread_exit_cv.wait_for(lambda: not self.threads, timeout)
        return bool(super().shutdown(cancel_pending, timeout=0))


def _started(threads: int) -> _Workers:
    workers = _Workers()
    workers.set_thread_count(threads)
    return workers
