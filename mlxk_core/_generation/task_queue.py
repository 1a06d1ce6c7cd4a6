"""Tasks, such as embeddings, that run on the engine thread between steps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mlxk_core._generation.engine import Engine
from mlxk_core._generation.jobs import Job
from mlxk_core._generation.passing import Passing

Task = Callable[[Engine], object]
_INTERVAL = 0.1
"""Seconds between two looks at works that wait for memory."""


@runtime_checkable
class Work(Protocol):
    """A task that is called again for each part of a longer work, and holds memory between the calls."""

    @property
    def begun(self) -> bool:
        """Whether it was called."""

    @property
    def done(self) -> bool:
        """Whether no part is left."""

    def memory(self, engine: Engine, /) -> int:
        """Return the bytes that it holds from the first call to the last."""

    def __call__(self, engine: Engine, /) -> object: ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A task in the queue; `work` is the same, if it is a part of one."""

    job: Job
    task: Task
    work: Work | None

    @property
    def begins(self) -> bool:
        """Whether this is the first part of a work."""
        return self.work is not None and not self.work.begun and not self.job.ended


class TaskQueue:
    """Tasks in order of arrival in every second turn; in the others, first those of the job that took the least time,
    so that small jobs wait for two tasks of large ones, and not for one of each. Many clients delay a step by one task,
    not by one each.

    After a task, waiting rows get as much time as it took. A work begins when it `fits`: until the oldest one does, no
    other begins, except by turns (`Passing`).
    """

    def __init__(self, fits: Callable[[Job, Work], bool]) -> None:
        self._fits = fits
        self._waiting: deque[_Waiting] = deque()
        self._oldest = True
        self._next_at = 0.0
        self._next_look = 0.0
        self._passing = Passing()
        self._has_waited: Job | None = None
        self.held: tuple[Job, Work] | None = None
        """The oldest work, if it did not fit when it was looked at last and nothing may pass it now."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, job: Job, task: Task) -> None:
        """Append a task of `job`."""
        self._waiting.append(_Waiting(job, task, task if isinstance(task, Work) else None))

    def look_again(self) -> None:
        """Note that works which did not fit may fit now."""
        self._next_look = 0.0

    def next(self, *, rows_wait: bool) -> tuple[Job, Task] | None:
        """Take the next task; None if there is none, or none fits, or while it is the turn of the rows."""
        now = time.monotonic()
        if not self._waiting or (rows_wait and now < self._next_at):
            return None
        self._oldest = not self._oldest
        order = list(self._waiting)
        if not self._oldest:
            order.sort(key=lambda waiting: waiting.job.task_seconds)
        due = self._first_due(order, now)
        if due is None:
            return None
        self._waiting.remove(due)
        return due.job, due.task

    def _first_due(self, order: Sequence[_Waiting], now: float) -> _Waiting | None:
        may_begin: bool | None = None
        for waiting in order:
            if waiting.work is None or not waiting.begins:
                return waiting
            if may_begin is None:
                may_begin, first = self._look(now)
                if first is not None:
                    return first
            if may_begin and self._fits(waiting.job, waiting.work):
                return waiting
        return None

    def _look(self, now: float) -> tuple[bool, _Waiting | None]:
        """Return whether a work may begin now if it fits, and the oldest one if it has waited and fits now: those that
        came later would take its room each time that some is free."""
        oldest = next(waiting for waiting in self._waiting if waiting.begins)
        assert oldest.work is not None
        if now < self._next_look:
            return False, None
        if self._fits(oldest.job, oldest.work):
            waited = self._has_waited is oldest.job
            self._has_waited = self.held = None
            return True, oldest if waited else None
        self._next_look = now + _INTERVAL
        self._has_waited = oldest.job
        passing = self._passing.may_pass(oldest.job.id, now)
        self.held = None if passing else (oldest.job, oldest.work)
        return passing, None

    @contextmanager
    def measure(self, job: Job) -> Iterator[None]:
        """Measure the task of `job` that runs inside."""
        began = time.monotonic()
        yield
        ended = time.monotonic()
        job.task_seconds += ended - began
        self._next_at = ended + (ended - began)
