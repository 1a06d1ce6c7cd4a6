"""Memory of rows and works: the order in which those begin that wait for it."""

from types import SimpleNamespace

from mlxk_core._generation.engine import Row
from mlxk_core._generation.job_state import JobState
from mlxk_core._generation.jobs import Job, Resident
from mlxk_core._generation.request import Sampling
from mlxk_core._generation.residency import Residency
from mlxk_core._generation.row_memory import RowMemory

BUDGET, WEIGHTS, ROW, WORK = 2000, 1000, 300, 200
"""So rows have 1,000 bytes, of which works leave a fourth."""


class Engine:
    """Each row takes `ROW` bytes."""

    rows = 0

    @property
    def memory(self):
        return WEIGHTS + ROW * self.rows

    def row_bytes(self, row, /):
        return ROW


class Case:
    """A loaded model with rows."""

    def __init__(self):
        self.engine = Engine()
        self.backend = SimpleNamespace(name="x")
        self.resident = Resident("x", self.backend, self.engine, leases=1)
        residency = Residency(BUDGET)
        residency.add(self.resident)
        self.memory = RowMemory(residency, print)
        self.work = SimpleNamespace(memory=lambda engine: WORK)

    def run(self, rows):
        """Make as many rows run."""
        self.engine.rows = rows
        self.resident.rows = {100 + number: None for number in range(rows)}

    def job(self, id):
        row = Row(id=id, prompt=[1], max_tokens=1, sampling=Sampling())
        return Job(id, "x", self.backend, resident=self.resident, row=row, _state=JobState.READY)

    def fits(self, id, held=None):
        return self.memory.fits(self.job(id), has_rows=False, held=held)


def test_rows_that_came_after_a_work_leave_room_for_it():
    case = Case()
    held = case.job(5), case.work
    case.run(rows=1)
    assert (case.fits(4, held), case.fits(6, held)) == (True, False)
    assert case.memory.fits_work(*held)
    case.run(rows=0)
    assert case.fits(6, held)


def test_works_that_came_after_a_row_leave_room_for_it():
    case = Case()
    case.run(rows=3)
    row = case.job(5)
    assert not case.memory.fits(row, has_rows=False, held=None)
    case.run(rows=1)
    assert case.memory.fits_work(case.job(4), case.work)
    assert not case.memory.fits_work(case.job(6), case.work)
    assert case.memory.fits(row, has_rows=False, held=None)
    assert case.memory.fits_work(case.job(6), case.work)


def test_works_leave_room_for_rows_to_grow_and_count_until_they_end():
    case = Case()
    case.run(rows=2)
    job = case.job(1)
    assert not case.memory.fits_work(job, case.work), "400 bytes are free, of which 250 are kept"
    case.run(rows=1)
    assert case.memory.fits_work(job, case.work)
    case.memory.begin_work(job, case.work)
    case.run(rows=2)
    assert not case.fits(2)
    assert case.memory.work_ended(job)
    assert case.fits(2)
