"""Stall detection: requests whose engine makes no progress for too long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from mlxk_core._generation.jobs import Job

STALL_SECONDS = 600.0
"""After this time without any event of its engine, a running request fails. Chunks of a long prompt on a CPU may take
minutes; with another request of the same engine in progress, ten times as long is allowed."""
_STARVED = 10
_TICKS = 20


class StallMonitor:
    """A thread that calls `on_stall(jobs)` once for jobs whose rows had no event for `seconds` of running time.

    Time is counted in ticks of the monitor itself: a suspended process (SIGSTOP, a sleeping laptop) does not count.
    """

    def __init__(
        self, seconds: float, running: Callable[[], Iterable[Job]], on_stall: Callable[[list[Job]], None]
    ) -> None:
        self._tick = seconds / _TICKS
        self._running = running
        self._on_stall = on_stall
        self._seen: dict[Job, tuple[int, int]] = {}
        """For each running job: its number of events at the last check, and the ticks since that number changed."""
        self._reported: set[Job] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread unless it was started. Raises `RuntimeError` if the system has none left."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="mlxk-stall-monitor", daemon=True)
            thread.start()
            self._thread = thread  # now: one that could not be started cannot be started later

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._tick):
            stalled = self._check()
            if stalled:
                self._on_stall(stalled)

    def _check(self) -> list[Job]:
        seen: dict[Job, tuple[int, int]] = {}
        for job in self._running():
            events, ticks = self._seen.get(job, (-1, 0))
            seen[job] = (job.events, ticks + 1 if job.events == events else 0)
        self._seen = seen
        self._reported &= seen.keys()
        moving = {id(job.resident) for job, (_, ticks) in seen.items() if ticks < _TICKS}
        stalled = []
        for job, (_, ticks) in seen.items():
            limit = _TICKS * _STARVED if id(job.resident) in moving else _TICKS
            if ticks >= limit and job not in self._reported:
                self._reported.add(job)
                stalled.append(job)
        return stalled
