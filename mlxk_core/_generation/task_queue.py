"""Tasks, such as embeddings, that run on the engine thread between steps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeGuard, runtime_checkable

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


Waiting = tuple[Job, Task]


class TaskQueue:
    """Tasks in order of arrival in every second turn; in the others, first those of the job that took the least time,
    so that small jobs wait for two tasks of large ones, and not for one of each. Many clients delay a step by one task,
    not by one each.

    After a task, waiting rows get as much time as it took. A work begins when it `fits`: until the oldest one does, no
    other begins, except by turns (`Passing`).
    """

    def __init__(self, fits: Callable[[Job, Work], bool]) -> None:
        self._fits = fits
        self._waiting: deque[Waiting] = deque()
        self._oldest = True
        self._next_at = 0.0
        self._next_look = 0.0
        self._passing = Passing()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, job: Job, task: Task) -> None:
        """Append a task of `job`."""
        self._waiting.append((job, task))

    def look_again(self) -> None:
        """Note that works which did not fit may fit now."""
        self._next_look = 0.0

    def next(self, *, rows_wait: bool) -> Waiting | None:
        """Take the next task; None if there is none, or none fits, or while it is the turn of the rows."""
        now = time.monotonic()
        if not self._waiting or (rows_wait and now < self._next_at):
            return None
        self._oldest = not self._oldest
        order = list(self._waiting)
        if not self._oldest:
            order.sort(key=lambda waiting: waiting[0].task_seconds)
        due = self._first_due(order, now)
        if due is not None:
            self._waiting.remove(due)
        return due

    def _first_due(self, order: Sequence[Waiting], now: float) -> Waiting | None:
        may_begin: bool | None = None
        for job, task in order:
            if not _begins(task) or job.ended:
                return job, task
            if may_begin is None:
                may_begin = self._may_begin(now)  # asked only if nothing that has begun goes on
            if may_begin and self._fits(job, task):
                return job, task
        return None

    def _may_begin(self, now: float) -> bool:
        """Return whether a work may begin now, if it fits."""
        if now < self._next_look:
            return False
        job, work = next((job, task) for job, task in self._waiting if _begins(task))
        if self._fits(job, work):
            return True
        self._next_look = now + _INTERVAL
        return self._passing.may_pass(job.id, now)

    @contextmanager
    def measure(self, job: Job) -> Iterator[None]:
        """Measure the task of `job` that runs inside."""
        began = time.monotonic()
        yield
        ended = time.monotonic()
        job.task_seconds += ended - began
        self._next_at = ended + (ended - began)


def _begins(task: Task) -> TypeGuard[Work]:
    """Return whether this is the first part of a work."""
    return isinstance(task, Work) and not task.begun
