"""Slots: how many threads do something at once, in order of arrival."""

import threading

import pytest

from mlxk_core.api.errors import Interrupted
from mlxk_core.api.processes import Slots


def interrupt():
    raise Interrupted("waiting")


def test_a_wait_for_a_slot_can_be_ended_and_leaves_the_slot_free():
    slots = Slots(1)
    with slots.hold(), pytest.raises(Interrupted), slots.hold(interrupt):
        raise AssertionError("held twice")
    with pytest.raises(KeyError), slots.hold(interrupt):
        raise KeyError
    with slots.hold(interrupt):
        pass


def test_slots_are_given_in_order_of_arrival():
    slots, order, threads = Slots(1), [], []

    def work(number, waits):
        with slots.hold(waits.set):
            order.append(number)

    with slots.hold():
        for number in range(4):
            waits = threading.Event()
            threads.append(threading.Thread(target=work, args=(number, waits)))
            threads[-1].start()
            assert waits.wait(60)
    for thread in threads:
        thread.join(60)
    assert order == [0, 1, 2, 3]


def test_a_slot_is_taken_now_or_not_at_all():
    slots = Slots(1)
    assert slots.take_now()
    assert not slots.take_now()
    slots.give_back()
    assert slots.take_now()
