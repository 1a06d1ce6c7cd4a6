"""Tasks, such as embeddings, that run on the engine thread between steps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlxk_core._generation.engine import Engine
from mlxk_core._generation.jobs import Job

Task = Callable[[Engine], object]


class TaskQueue:
    """Tasks in order of arrival in every second turn; in the others, first those of the job that took the least time,
    so that small jobs wait for two tasks of large ones, and not for one of each. Many clients delay a step by one task,
    not by one each.

    After a task, waiting rows get as much time as it took.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Job, Task]] = deque()
        self._oldest = True
        self._next_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, job: Job, task: Task) -> None:
        """Append a task of `job`."""
        self._waiting.append((job, task))

    def next(self, *, rows_wait: bool) -> tuple[Job, Task] | None:
        """Take the next task; None if there is none, or while it is the turn of the rows."""
        if not self._waiting or (rows_wait and time.monotonic() < self._next_at):
            return None
        self._oldest = not self._oldest
        if self._oldest:
            return self._waiting.popleft()
        due = min(self._waiting, key=lambda waiting: waiting[0].task_seconds)
        self._waiting.remove(due)
        return due

    @contextmanager
    def measure(self, job: Job) -> Iterator[None]:
        """Measure the task of `job` that runs inside."""
        began = time.monotonic()
        yield
        ended = time.monotonic()
        job.task_seconds += ended - began
        self._next_at = ended + (ended - began)
