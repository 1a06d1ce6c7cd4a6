"""Turns of the loop and the workers, by events only."""

from __future__ import annotations

import threading

import pytest

from mlxk_serve.http.turns import Turns


@pytest.fixture
def start():
    threads = []

    def run(target):
        threads.append(threading.Thread(target=target, daemon=True))
        threads[-1].start()

    yield run
    for thread in threads:
        thread.join(180)
        assert not thread.is_alive()


def block(turns, start, release, count, *, urgent=False):
    """Begin `count` pieces of work that wait for `release`."""
    began = threading.Semaphore(0)

    def work():
        with turns.of_work(urgent=urgent):
            began.release()
            assert release.wait(180)

    for _ in range(count):
        start(work)
    for _ in range(count):
        assert began.acquire(timeout=180)


def test_no_work_begins_while_the_loop_handles_events(start):
    turns, began, looping = Turns(), threading.Event(), True

    def work():
        with turns.of_work():
            assert not looping
            began.set()

    with turns.of_loop():
        for _ in range(8):
            start(work)
        assert not began.wait(0.3)  # longer than any work is patient
        looping = False
    assert began.wait(180)


@pytest.mark.parametrize("urgent", [False, True])
def test_work_does_not_wait_for_work_that_is_blocked(start, urgent):
    turns, release = Turns(), threading.Event()
    block(turns, start, release, 70, urgent=urgent)
    release.set()


def test_ordinary_work_begins_also_while_urgent_work_never_ends(start):
    turns, done = Turns(), threading.Event()

    def urgent():
        while not done.is_set():
            with turns.of_work(urgent=True):
                pass

    def ordinary():
        with turns.of_work():
            done.set()

    for _ in range(4):
        start(urgent)
    start(ordinary)
    assert done.wait(180)


def test_the_loop_goes_on_while_all_work_is_blocked(start):
    turns, release = Turns(), threading.Event()
    block(turns, start, release, 4)
    for _ in range(3):
        with turns.of_loop():
            pass
    release.set()


def test_work_that_fails_leaves_its_turn(start):
    turns, done = Turns(), threading.Event()
    for _ in range(10):
        with pytest.raises(ZeroDivisionError), turns.of_work():
            raise ZeroDivisionError

    def work():
        with turns.of_work():
            done.set()

    start(work)
    assert done.wait(180)
