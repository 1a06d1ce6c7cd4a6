"""Turns of the clients for places in the batch."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from mlxk_core._generation.engine import Row
from mlxk_core._generation.events import Started
from mlxk_core._generation.job_state import JobState
from mlxk_core._generation.jobs import Job, Resident
from mlxk_core._generation.request import Sampling
from mlxk_core._generation.row_turns import RowTurns
from mlxk_testing.fake_engine import fake_backend


@pytest.fixture
def submit(house):
    """Submits a request of a client, and waits until its row can begin."""

    def submit(client, prompt="?", **options):
        generation = house.ask(house.model(), prompt, raw=True, client=client, **options)
        house.until(generation, Started)
        return generation

    return submit


def added(backend):
    """The prompts of the rows that an engine was given, in order."""
    return ["".join(map(chr, row.prompt)) for row in backend.script.happened("add")]


def endless(prompt):
    return "z" * (4000 if prompt.startswith("endless") else 2)


def running(house):
    return house.service.status().active


def test_a_client_without_a_row_finds_a_place_when_another_has_all(house, submit):
    backend = fake_backend(endless, step_seconds=0.005)
    house.open(backend, concurrency=4)
    flood = [submit("flood", f"endless {i}") for i in range(6)]
    house.wait_for(lambda: running(house) == 4)
    for client in ("a", "b", "a"):
        assert submit(client).result().content == "zz"
    assert running(house) == 4 and added(backend)[4:] == ["?"] * 3
    submit("a", "endless a")
    house.wait_for(lambda: running(house) == 5)  # one place is kept for them
    waiting = [submit("a", "one more"), submit("b", "endless b"), submit("c", "short")]
    flood[0].close()  # now four run, and the place is for a client that has none: b has waited longest
    house.wait_for(lambda: "endless b" in added(backend))
    flood[1].close()
    assert waiting[2].result().content == "zz"
    assert added(backend)[8:] == ["endless b", "short"]
    for generation in (*flood, *waiting):
        generation.close()


def test_a_batch_of_few_has_no_place_beside_it(house, submit):
    backend = fake_backend(endless, step_seconds=0.005)
    house.open(backend, concurrency=3)
    flood = [submit("flood", f"endless {i}") for i in range(3)]
    house.wait_for(lambda: running(house) == 3)
    other = submit("other")
    flood[0].close()
    assert other.result().content == "zz"
    assert added(backend) == ["endless 0", "endless 1", "endless 2", "?"]


def test_clients_with_as_many_rows_take_turns(house, submit):
    backend = fake_backend(endless, step_seconds=0.005)
    house.open(backend, concurrency=1)
    first = submit("a", "endless")
    house.wait_for(lambda: running(house) == 1)
    later = [submit(name[0], name) for name in ("a1", "a2", "a3", "b1", "b2", "c1")]
    first.close()
    for generation in later:
        assert generation.result().content == "zz"
    assert added(backend) == ["endless", "a1", "b1", "c1", "a2", "b2", "a3"]


def test_two_long_prompts_of_a_client_are_read_at_a_time(house, submit):
    backend = fake_backend("ok", step_seconds=0.005, prefill_chunk=1)
    house.open(backend)
    many = [submit("a", name * 3000, max_tokens=1) for name in "wxyz"]
    assert submit("b").result().content == submit("a", "short").result().content == "ok"
    assert [prompt[0] for prompt in added(backend)] == ["w", "x", "?", "s"]
    many.append(submit("b", "b" * 3000))
    house.wait_for(lambda: len(added(backend)) == 5)
    backend.script.prefill_chunk = 1 << 30
    for generation in many:
        generation.result()
    assert [prompt[0] for prompt in added(backend)] == ["w", "x", "?", "s", "b", "y", "z"]


def test_short_prompts_of_a_client_are_read_together(house, submit):
    backend = fake_backend("ok", step_seconds=0.005, prefill_chunk=1)
    house.open(backend, concurrency=16)
    rows = [submit("a", "x" * 300) for _ in range(12)]
    house.wait_for(lambda: len(added(backend)) == 7)  # 2,100 tokens
    backend.script.prefill_chunk = 1 << 30
    for generation in rows:
        generation.result()


def test_a_row_that_ends_before_its_prompt_is_read_makes_room(house, submit):
    backend = fake_backend("ok", step_seconds=0.005, prefill_chunk=1)
    house.open(backend)
    first, second, third = (submit("a", name * 3000) for name in "xyz")
    house.wait_for(lambda: len(added(backend)) == 2)
    first.close()
    house.wait_for(lambda: len(added(backend)) == 3)
    second.close()
    third.close()
    house.wait_for(lambda: running(house) == 0)
    backend.script.prefill_chunk = 1 << 30
    assert submit("a").result().content == "ok"


def test_a_row_without_memory_is_passed_by_turns():
    turns, backend = RowTurns(16, 4), SimpleNamespace(name="x")
    resident = Resident("x", backend, SimpleNamespace(memory=0))

    def ready(id, client):
        row = Row(id=id, prompt=[1], max_tokens=1, sampling=Sampling())
        job = Job(id, "x", backend, resident=resident, row=row, client=client, _state=JobState.READY)
        turns.add(job)
        return job

    def take():
        return turns.take(lambda job, has_rows: job is not large)

    large, runs = None, ready(0, "b")
    assert take() is runs
    turns.begin(runs)
    large, busy = ready(1, "a"), ready(2, "b")
    assert take() is None
    other = ready(3, "c")  # has no row
    assert take() is other
    time.sleep(11)
    assert take() is busy
    large = None
    assert take().id == 1
