"""Life-cycle events reach the listeners in order, whatever a listener does."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from mlxk_core.api import LifecycleListener, hookimpl
from mlxk_core.api.errors import ContextLengthExceeded, EngineFailure
from mlxk_testing.fake_engine import fake_backend


def listeners(*found):
    def mlxk_lifecycle():
        return found

    return SimpleNamespace(mlxk_lifecycle=hookimpl(mlxk_lifecycle))


def recorder(seen):
    """A listener that keeps every event with the name of its function."""

    def keep(name):
        return lambda event: seen.append((name, event))

    names = ("on_load", "on_unload", "on_request", "on_finish")
    return LifecycleListener(name="recorder", **{name: keep(name) for name in names})


def test_a_listener_sees_load_request_finish_and_unload(house):
    seen = []
    house.host.register(listeners(recorder(seen)), name="watching")
    house.open(fake_backend("Hello."))
    model = house.model()
    house.ask(model).result()
    house.service.close(house.GRACE)
    assert [name for name, _ in seen] == ["on_request", "on_load", "on_finish", "on_unload"]
    accepted, loaded, finished, unloaded = (event for _, event in seen)
    assert accepted.id == finished.id
    assert (loaded.model, loaded.backend, unloaded.model) == (model, "fake", model)
    assert (finished.reason, finished.error) == ("stop", None)
    assert finished.usage.completion_tokens == len("Hello.") + 1


def test_failures_and_cancellations_are_reported_too(house):
    seen = []
    house.host.register(listeners(recorder(seen)), name="watching")
    backend = fake_backend("z" * 4000, step_seconds=0.001)
    house.open(backend)
    model = house.model()
    with house.ask(model) as generation:
        next(generation)
    backend.script.fail_step = RuntimeError("out of order")
    with pytest.raises(EngineFailure):
        house.ask(model).result()
    house.service.close(house.GRACE)
    ends = [event for name, event in seen if name == "on_finish"]
    assert [(end.reason, type(end.error)) for end in ends] == [("cancelled", type(None)), (None, EngineFailure)]


def test_a_listener_that_raises_harms_no_request_and_is_on_record(house):
    seen = []

    def broken(event):
        raise ZeroDivisionError("a bug")

    house.host.isolation.strict = False
    house.host.register(listeners(LifecycleListener(name="broken", on_load=broken), recorder(seen)), name="watching")
    house.open(fake_backend("Hello."))
    assert house.ask(house.model()).result().content == "Hello."
    house.service.close(house.GRACE)
    assert "on_finish" in [name for name, _ in seen]
    [record] = (record for record in house.host.plugins() if record.name == "watching")
    assert "on_load of broken raised ZeroDivisionError" in record.reason


@pytest.mark.parametrize(("characters", "most"), [(3000, 1100), (3_000_000, 6)])
def test_events_that_wait_for_a_listener_are_limited(house, caplog, characters, most):
    """A webhook whose host does not answer kept every request in memory."""
    seen, go_on = [], threading.Event()

    def wait(event):
        go_on.wait(house.GRACE)
        seen.append(event.request.prompt)

    house.host.register(listeners(LifecycleListener(name="slow", on_request=wait)), name="watching")
    house.open(fake_backend("Hello."), queue=2000)
    model = house.model(context=16)
    for _ in range(2 * most):
        with pytest.raises(ContextLengthExceeded):
            house.ask(model, "x" * characters).result()
    go_on.set()
    house.service.close(house.GRACE)
    assert 0 < len(seen) < most
    assert "events were dropped" in caplog.text
