"""Turns of the clients: whose row gets the next place in the batch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from mlxk_core._generation.jobs import Job, Resident
from mlxk_core._generation.passing import Passing
from mlxk_core._processes.client_queues import ClientQueues

_MOST_READING = 2048
"""Tokens of short prompts of one client that an engine may have to read before the next one is admitted. Engines read
prompts in order of arrival, some at a time: those of another client wait for few."""
_LONG = 1024
"""What a prompt that is longer than that counts for, so that two are read at a time."""

_Lane = tuple[str, Resident, bool]
"""A client, a model, and whether the prompt is long: short ones pass those."""


class RowTurns:
    """Rows that are ready, and the places for them: `places` for all, and `reserve` for clients that have none.

    The client with the fewest running rows has the next place, and of several the one that was served longest ago.
    A client has a turn for each model, and for long prompts.
    """

    def __init__(self, places: int, reserve: int) -> None:
        self._places = places
        self._reserve = reserve
        self._ready = ClientQueues[_Lane, Job]()
        self._running = Counter[str]()
        self._reading: dict[Job, int] = {}
        self._held: Job | None = None
        """A job whose row did not fit when it was its turn, as long as it waits."""
        self._passing = Passing()

    def add(self, job: Job) -> None:
        """Let the row of `job` wait for a place."""
        self._ready.append(_lane(job), job)

    def discard(self, job: Job) -> None:
        """Forget `job`, which is over before its row had a place."""
        self._release(job)
        self._ready.discard(_lane(job), job)

    def take(self, fits: Callable[[Job, bool], bool] = lambda job, has_rows: True) -> Job | None:
        """Take the job whose turn it is; None if there is none, or no place for it yet.

        `fits(job, has_rows)` says whether there is memory for its row, where its client has running rows or not. One
        without holds back the rows of clients that have some running, but for those that pass it by turns (`Passing`),
        and is passed by those of others.
        """
        if not self._ready or (running := self._running.total()) >= self._places + self._reserve:
            return None
        full = running >= self._places
        reading = Counter[_Lane]()
        for job, tokens in self._reading.items():
            reading[_lane(job)] += tokens
        lanes = [
            lane for lane in self._ready if not (full and self._running[lane[0]]) and reading[lane] < _MOST_READING
        ]
        held_back = False
        for lane in sorted(lanes, key=lambda lane: self._running[lane[0]]):
            has_rows = self._running[lane[0]] > 0
            if held_back and has_rows and not self._may_pass():
                return None
            job = self._ready.first(lane)
            if fits(job, has_rows):
                self._release(job)
                return self._ready.take(lane)
            held_back = True
            if self._held is None:
                self._held = job
        return None

    def _may_pass(self) -> bool:
        return self._held is None or self._passing.may_pass(self._held.id, time.monotonic())

    def _release(self, job: Job) -> None:
        if job is self._held:
            self._held = None

    def begin(self, job: Job) -> None:
        """The row of `job` has a place."""
        assert job.row is not None
        self._running[job.client] += 1
        length = len(job.row.prompt)
        self._reading[job] = length if length <= _MOST_READING else _LONG

    def prompt_read(self, job: Job) -> None:
        """The engine has read the prompt of `job`."""
        self._reading.pop(job, None)

    def is_reading(self, job: Job) -> bool:
        """Return whether the engine has yet to read the prompt of `job`."""
        return job in self._reading

    def end(self, job: Job) -> None:
        """The place of `job` is free."""
        self.prompt_read(job)
        self._running[job.client] -= 1
        if not self._running[job.client]:
            del self._running[job.client]


def _lane(job: Job) -> _Lane:
    assert job.resident is not None and job.row is not None
    return job.client, job.resident, len(job.row.prompt) > _MOST_READING
