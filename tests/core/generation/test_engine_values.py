"""What engines say of their memory, malformed: it costs their own requests only."""

from __future__ import annotations

import pytest

from mlxk_core.api.errors import EngineFailure
from mlxk_testing.fake_engine import FakeEngine, fake_backend

BEYOND = 10**15


class Odd(FakeEngine):
    """An engine that keeps prompts, and whose rows take more than the budget."""

    value = None

    @property
    def memory(self):
        return BEYOND if self._rows else 1000

    @property
    def prompt_cache_bytes(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def drop_prompts(self, size, /):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def row_bytes(self, row, /):
        return 10


def odd_backend(engine_class, kind):
    backend = fake_backend("x" * 50, kind=kind, step_seconds=0.005)

    def load(model, context):
        return engine_class(backend.script, model.name)

    backend.load = load
    return backend


def answers(house):
    return house.ask(house.model("beta", kind="good")).result().content


@pytest.mark.parametrize("value", [None, "12", 1.5, RuntimeError("closed")])
def test_what_is_said_of_a_prompt_cache_is_checked(house, value):
    house.open(odd_backend(type("Changed", (Odd,), {"value": value}), "odd"), fake_backend("fine", kind="good"))
    assert answers(house) == "fine"
    with pytest.raises(Exception, match="memory"):
        house.ask(house.model("alpha", kind="odd")).result()
    assert answers(house) == "fine"
    assert {type(model.prompt_cache) for model in house.service.status().models} == {int}


@pytest.mark.parametrize("value", [None, "12", float("inf"), [1]])
def test_a_memory_that_is_not_a_number_fails_the_load(house, value):
    engine_class = type("Changed", (FakeEngine,), {"memory": value})
    house.open(odd_backend(engine_class, "odd"), fake_backend("fine", kind="good"))
    with pytest.raises(EngineFailure, match=r"fake0.* `memory`"):
        house.ask(house.model("alpha", kind="odd")).result()
    assert answers(house) == "fine"


def test_a_memory_that_becomes_something_else_keeps_its_last_value(house):
    class Forgetful(FakeEngine):
        @property
        def memory(self):
            return None if self._rows else 1000

    house.open(odd_backend(Forgetful, "odd"), fake_backend("fine", kind="good"))
    assert house.ask(house.model("alpha", kind="odd")).result().content == "x" * 50
    assert answers(house) == "fine"


def test_any_integer_is_a_memory(house):
    class Integer:
        def __index__(self):
            return 1234

    house.open(odd_backend(type("Changed", (FakeEngine,), {"memory": Integer()}), "odd"))
    house.ask(house.model("alpha", kind="odd")).result()
    assert [model.memory for model in house.service.status().models] == [1234]


def test_a_step_that_cannot_be_looked_up_fails_its_requests(house):
    class Closed(FakeEngine):
        @property
        def step(self):
            raise RuntimeError("closed")

    house.open(odd_backend(Closed, "odd"), fake_backend("fine", kind="good"))
    with pytest.raises(EngineFailure, match="closed"):
        house.ask(house.model("alpha", kind="odd")).result()
    assert answers(house) == "fine"


def changing_backend():
    """A backend that changes its model, which the service has as a key, so that nothing finds it any more."""
    backend = fake_backend(kind="odd")
    load = backend.load

    def load_and_change(model, context):
        model.__dict__["revision"] = []
        return load(model, context)

    backend.load = load_and_change
    return backend


def test_an_unexpected_error_in_the_loop_fails_the_requests_and_the_thread_goes_on(house):
    house.open(changing_backend(), fake_backend("fine", kind="good"))
    assert answers(house) == "fine"
    with pytest.raises(EngineFailure, match=r"engine thread failed: TypeError"):
        house.ask(house.model("alpha", kind="odd")).result()
    assert answers(house) == "fine"
    assert not house.service.status().failed
