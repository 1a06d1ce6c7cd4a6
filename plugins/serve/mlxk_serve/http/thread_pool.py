"""Daemon threads for work that may block: prompt rendering, and what extensions run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext

from mlxk_core.api.processes import raise_system_limit
from mlxk_serve.http.turns import Turns
from mlxk_serve.observability.log import LOGGER

_IDLE_SECONDS = 10.0


class ThreadPool:
    """Runs functions on up to `limit` daemon threads, started on demand; in `turns` if there are any."""

    def __init__(self, name: str, limit: int, turns: Turns | None = None) -> None:
        self._name = name
        self._turn = turns.of_work if turns is not None else nullcontext
        self._limit = limit
        self._lock = threading.Condition()
        self._work: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._idle = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` on a thread of the pool, in order of arrival. Its exceptions are logged.

        Raises `SystemLimit` if the pool has no thread and the system lets none be started.
        """
        with self._lock:
            self._work.append(work)
            if len(self._work) > self._idle and self._threads < self._limit:
                try:
                    threading.Thread(target=self._run, name=self._name, daemon=True).start()
                    self._threads += 1
                except RuntimeError as error:
                    if not self._threads:
                        self._work.remove(work)
                        raise_system_limit(error)
                        raise
            self._lock.notify()

    def _run(self) -> None:
        while (work := self._take()) is not None:
            try:
                with self._turn():
                    work()
            except BaseException:
                LOGGER.exception("%s failed", self._name)
            del work  # an idle thread must not hold the last request

    def _take(self) -> Callable[[], None] | None:
        with self._lock:
            self._idle += 1
            try:
                if not self._work:
                    self._lock.wait(_IDLE_SECONDS)
                if self._work:
                    return self._work.popleft()
                self._threads -= 1
                return None
            finally:
                self._idle -= 1
