"""Daemon threads for work that may block: prompt rendering, and what extensions run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext, suppress

from mlxk_core.api.processes import ClientQueues
from mlxk_serve.http.turns import Turns
from mlxk_serve.observability.log import LOGGER

_IDLE_SECONDS = 10.0


class ThreadPool:
    """Runs functions on up to `limit` daemon threads; in `turns` if there are any.

    The clients have their turns, and none of them has more threads than are left for others: what it sends may take
    long. A client that is alone has half of them, each of two a third. The first thread is started at once and stays,
    so that work is done when the system has no thread left. The others are started on demand.
    """

    def __init__(self, name: str, limit: int, turns: Turns | None = None) -> None:
        self._name = name
        self._turn = turns.of_work if turns is not None else nullcontext
        self._limit = limit
        self._lock = threading.Condition()
        self._work = ClientQueues[str, Callable[[], None]]()
        self._running = Counter[str]()
        self._threads = 0
        self._idle = 0
        self._stopped = False
        self._start()

    def submit(self, work: Callable[[], None], client: str = "") -> None:
        """Run `work` on a thread of the pool, in order of arrival for each client. Its exceptions are logged. Work
        without a client may take all threads."""
        with self._lock:
            self._work.append(client, work)
            if len(self._work) > self._idle and self._threads < self._limit:
                with suppress(RuntimeError):  # the threads there are will do it
                    self._start()
            self._lock.notify()

    def stop(self) -> None:
        """End the threads when they have done what was submitted."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def _start(self) -> None:
        """Start a thread. Raises `RuntimeError` if the system has none left."""
        threading.Thread(target=self._run, name=self._name, daemon=True).start()
        self._threads += 1

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            client, work = taken
            try:
                with self._turn():
                    work()
            except BaseException:
                LOGGER.exception("%s failed", self._name)
            del taken, work  # an idle thread must not hold the last request
            self._leave(client)

    def _take(self) -> tuple[str, Callable[[], None]] | None:
        with self._lock:
            self._idle += 1
            idle = False
            try:
                while (client := self._next_client()) is None:
                    if (self._stopped and not self._work) or (idle and self._threads > 1):
                        self._threads -= 1
                        return None
                    idle = not self._lock.wait(_IDLE_SECONDS if self._threads > 1 else None)
                work = self._work.take(client)
                self._running[client] += 1
                if self._next_client() is not None:
                    self._lock.notify()
                return client, work
            finally:
                self._idle -= 1

    def _next_client(self) -> str | None:
        free = self._limit - self._running.total()
        return next((client for client in self._work if not client or self._running[client] < free), None)

    def _leave(self, client: str) -> None:
        with self._lock:
            self._running[client] -= 1
            if not self._running[client]:
                del self._running[client]
            self._lock.notify()
