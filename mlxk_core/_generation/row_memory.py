"""Memory of rows and works: which may begin, and which row must end when all of them together have grown too much."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from mlxk_core._errors import InsufficientMemory
from mlxk_core._generation.job_state import JobState
from mlxk_core._generation.jobs import Job, Resident
from mlxk_core._generation.passing import Passing
from mlxk_core._generation.residency import Residency
from mlxk_core._generation.task_queue import Work
from mlxk_core._text.units import human_size

_RESERVE = 4
"""The share of the rows' memory that is kept for clients without a running row: a fourth."""
_LEAST = 16
"""Rows have a sixteenth of the budget even if the weights take more than was estimated."""
_INTERVAL = 0.1
"""Seconds between two looks at rows that wait for memory or have grown: it takes a tenth of a millisecond."""


class RowMemory:
    """Keeps models, rows, prompt caches and works, such as embeddings, within the budget of `residency`. Used on the
    engine thread.

    Prompt caches are dropped first, then idle models unloaded (`unload`), then rows and works wait. Rows that have
    grown fail.
    """

    def __init__(self, residency: Residency, unload: Callable[[Resident], None]) -> None:
        self._residency = residency
        self._unload = unload
        self._works: dict[Job, int] = {}
        """Bytes that the works that have begun hold. A job has one at a time."""
        self._waiting: Job | None = None
        """A row that did not fit when it was looked at last."""
        self._passing = Passing()
        self._next_try = self._next_look = 0.0

    def may_try(self) -> bool:
        """Return whether it is time to ask again for rows that did not fit. Without one that waited, always."""
        return time.monotonic() >= self._next_try

    def row_ended(self) -> None:
        """Note that memory became free."""
        self._next_try = 0.0

    def fits(self, job: Job, *, has_rows: bool, held: tuple[Job, Work] | None) -> bool:
        """Return whether the row of `job` may begin: there is room, or nothing that runs will ever make some.

        A client that `has_rows` leaves a fourth of the rows' memory to the others, and a row that came after the work
        that is `held` leaves what that needs.
        """
        if (need := _row_bytes(job)) is None:
            return True
        kept = self._reserve() if has_rows else 0
        if held is not None and held[0].id < job.id and not held[0].ended:
            kept += _work_bytes(*held) + self._reserve()
        if self._room_for(need, kept):
            self._waiting = None
            return True
        if self._waiting is None or self._waiting.ended:
            self._waiting = job
        self._next_try = time.monotonic() + _INTERVAL
        return False

    def check(self, job: Job) -> None:
        """Raise `InsufficientMemory` if the row of `job`, which is next, does not fit: it never will."""
        self._check(_row_bytes(job) or 0)

    def fits_work(self, job: Job, work: Work) -> bool:
        """Return whether a work of `job` may begin: there is room, or nothing that runs will ever make some.

        It leaves a fourth of the rows' memory to rows that run, since they grow, and what a row needs that came before.
        """
        kept = self._reserve() if any(resident.rows for resident in self._residency) else 0
        row = self._waiting
        waits = row is not None and row.id < job.id and row.state is JobState.READY
        if row is not None and waits and not self._passing.may_pass(row.id, time.monotonic()):
            kept += _row_bytes(row) or 0
        return self._room_for(_work_bytes(job, work), kept)

    def begin_work(self, job: Job, work: Work) -> None:
        """Count the memory of a work of `job` until `work_ended`. Raises `InsufficientMemory` if it does not fit."""
        need = _work_bytes(job, work)
        if need > 0:
            self._check(need)
            self._works[job] = need

    def work_ended(self, job: Job) -> bool:
        """Note that the work of `job` is over. Return whether it held memory, which is free now."""
        if (held := self._works.pop(job, None)) is not None:
            self._next_try = 0.0
        return held is not None

    def overgrown(self) -> Job | None:
        """Return a job whose row must end, since the rows have grown beyond the budget: the youngest of the client with
        the most. None if there is room."""
        now = time.monotonic()
        if now < self._next_look:
            return None
        self._next_look = now + _INTERVAL
        if self._make_room(0):
            return None
        jobs = [job for resident in self._residency if resident.counts_rows for job in resident.rows.values()]
        rows = Counter(job.client for job in jobs)
        return max(jobs, key=lambda job: (rows[job.client], job.admitted_at), default=None)

    def exhausted(self) -> InsufficientMemory:
        """Return the error of an `overgrown` job."""
        budget = self._residency.memory
        return InsufficientMemory(
            f"Out of memory: the requests that run have filled the budget of {human_size(budget)}. Try again later, "
            "shorten the prompt or the response, or use a smaller model.",
            budget=budget,
        )

    def _room_for(self, need: int, kept: int = 0) -> bool:
        """Return whether there are `need` bytes, of which `kept` remain, or nothing that runs will ever make room."""
        if need <= 0 or (self._free() + self._droppable() >= need + kept and self._make_room(need)):
            return True
        return not self._works and not any(resident.rows for resident in self._residency)

    def _check(self, need: int) -> None:
        free = max(0, self._free())
        if need > free:
            raise InsufficientMemory(
                f"Not enough memory for this request: it needs {human_size(need)}, and {human_size(free)} of the "
                f"budget of {human_size(self._residency.memory)} are left. Shorten the prompt or use a smaller model.",
                needed=need,
                free=free,
            )

    def _make_room(self, need: int) -> bool:
        """Drop prompt caches and idle models until `need` bytes are free. Return whether they are."""
        missing = need - self._free()
        if missing <= 0:
            return True
        for resident in self._residency:
            if missing > 0:
                missing -= resident.drop_prompts(missing)
        if (missing := need - self._free()) <= 0:
            return True
        for resident in self._residency.idle_for_longest():
            self._unload(resident)
            if need <= self._free():
                return True
        return False

    def _free(self) -> int:
        held = sum(resident.refresh_memory() for resident in self._residency) + sum(self._works.values())
        return self._budget() - held

    def _droppable(self) -> int:
        return sum(resident.memory if resident.idle else resident.prompt_cache for resident in self._residency)

    def _reserve(self) -> int:
        return (self._budget() - self._weights()) // _RESERVE

    def _budget(self) -> int:
        return max(self._residency.memory, self._weights() + self._residency.memory // _LEAST)

    def _weights(self) -> int:
        """Bytes that models hold without rows and prompt caches."""
        return sum(resident.weights for resident in self._residency)


def _row_bytes(job: Job) -> int | None:
    """Return the bytes that the row of `job` needs to begin; None if its engine does not say."""
    assert job.resident is not None and job.row is not None
    return job.resident.row_bytes(job.row)


def _work_bytes(job: Job, work: Work) -> int:
    """Return the bytes that a work holds until it is done."""
    assert job.resident is not None
    return work.memory(job.resident.engine)
