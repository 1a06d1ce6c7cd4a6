"""Consumers of many generations: notified instead of blocked."""

import threading

import pytest

from mlxk_core.api.generation import Finished, Started, join_events
from mlxk_testing.fake_engine import fake_backend


def test_a_notified_consumer_reads_the_same_events_without_blocking(house):
    house.open(fake_backend("Hello there."))
    model = house.model()
    arrived, events = threading.Event(), []
    generation = house.ask(model, echo=True)
    generation.on_update(arrived.set)
    while not (events and isinstance(events[-1], Finished)):
        assert arrived.wait(house.GRACE)
        arrived.clear()
        while not (events and isinstance(events[-1], Finished)) and (new := generation.poll()) is not None:
            events += new
    with pytest.raises(StopIteration):
        generation.poll()
    [started] = [event for event in events if isinstance(event, Started)]
    assert started.prompt_text == "<user>Hi\n<assistant>"
    assert join_events(events).content == house.ask(model).result().content == "Hello there."
