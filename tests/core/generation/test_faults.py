"""What goes wrong in foreign code (engines, backends, formats) costs the requests it concerns and nobody else."""

import threading
import weakref

import pytest

from mlxk_core._errors import EngineFailure, PluginFailure
from mlxk_core._generation.events import Channel, Delta, Loading, Progress, Started, ToolCallDelta
from mlxk_core.api import Evidence, ReasoningExtractorSpec, Strength, hookimpl
from mlxk_testing import fake_engine
from mlxk_testing.fake_engine import fake_backend


class Panic(BaseException):
    """What a Rust extension raises when it panics: no `Exception`."""


@pytest.mark.parametrize("fault", [RuntimeError("out of order"), Panic("out of order")])
@pytest.mark.parametrize("method", ["add", "load", "step", "memory", "remove", "reset", "close"])
def test_the_service_survives_every_engine_failure(house, method, fault):
    backend = fake_backend("x" * 2000, step_seconds=0.001, kind="a")
    house.open(backend, fake_backend("fine", kind="b"), memory=1500)
    model = house.model("alpha", kind="a")
    if method == "load":
        backend.script.fail_load = fault
    elif method == "step":
        backend.script.fail_step = fault
    else:
        backend.script.faults[method] = fault
    if method == "reset":
        backend.script.fail_step = RuntimeError("out of order")
    with house.ask(model) as generation:
        try:
            house.until(generation, Delta)
        except EngineFailure as failure:
            assert "out of order" in str(failure)
    assert house.ask(house.model("beta", kind="b")).result().content == "fine"
    backend.script.faults.clear()
    with house.ask(model) as generation:
        assert house.until(generation, Delta).text == "x"


@pytest.mark.parametrize("junk", [None, fake_engine.Prefilled(1, None, None)])
def test_an_engine_that_returns_an_invalid_event_fails_only_its_requests(house, junk):
    backend = fake_backend("Hello.", kind="a")
    load = backend.load

    def load_odd(model, context):
        engine = load(model, context)
        engine.step = lambda: [junk]
        return engine

    backend.load = load_odd
    house.open(backend, fake_backend("fine", kind="b"))
    with pytest.raises(EngineFailure):
        house.ask(house.model("alpha", kind="a")).result()
    assert house.ask(house.model("beta", kind="b")).result().content == "fine"


def test_an_engine_that_fails_to_close_after_its_ttl_affects_no_request(house):
    backend = fake_backend("Hello.")
    backend.script.faults["close"] = RuntimeError("it is stuck")
    house.open(backend, ttl=0.05)
    model = house.model()
    for _ in range(2):
        assert house.ask(model).result().content == "Hello."
        house.wait_for(lambda: not house.service.status().models)
    assert backend.script.happened("load") == ["alpha", "alpha"]
    assert house.service.status().counters.unloads == 2


def test_requests_waiting_for_a_lost_engine_fail(house):
    backend = fake_backend("x" * 100_000, step_seconds=0.001)
    house.open(backend, concurrency=1)
    model = house.model()
    running, waiting = house.ask(model), house.ask(model)
    house.until(running, Delta)
    house.until(waiting, Started)
    steps = house.service.status().counters.steps
    house.wait_for(lambda: house.service.status().counters.steps > steps + 2)
    backend.script.faults["reset"] = RuntimeError("for good")
    backend.script.fail_step = RuntimeError("broken")
    for generation in (running, waiting):
        with pytest.raises(EngineFailure):
            list(generation)


def test_the_place_of_a_rejected_row_is_reused_although_its_consumer_does_not_read(house):
    alpha, beta = fake_backend(kind="a"), fake_backend("b", kind="b")
    house.open(alpha, beta, memory=1500)
    alpha.script.faults["add"] = RuntimeError("no more rows")
    first = house.ask(house.model("alpha", kind="a"))
    while not isinstance(first.next(house.GRACE), Loading):
        pass
    second = house.ask(house.model("beta", kind="b"))
    assert second.next(0.05) is None
    assert isinstance(first.next(house.GRACE), Started)
    assert second.result().content == "b"
    first.close()


@pytest.mark.parametrize("part", ["encode", "detokenizer"])
def test_a_panic_in_the_text_work_is_a_failure_of_that_request(house, part):
    backend = fake_backend("Hello.")
    load = backend.load

    def panic(*args, **options):
        raise Panic("out of order")

    def load_brittle(model, context):
        engine = load(model, context)
        setattr(engine.tokenizer, part, panic)
        return engine

    backend.load = load_brittle
    house.open(backend)
    with pytest.raises(EngineFailure, match="Panic: out of order"):
        house.ask(house.model()).result()
    house.wait_for(lambda: house.service.status().waiting + house.service.status().active == 0)
    assert house.service.status().counters.failed == 1


def test_a_heartbeat_from_inside_a_step_steps_no_other_engine(house):
    backend = fake_backend("Hello.")
    load = backend.load

    def load_lively(model, context):
        engine = load(model, context)
        step = engine.step

        def lively_step():
            context.alive()
            return step()

        engine.step = lively_step
        return engine

    backend.load = load_lively
    house.open(backend)
    assert house.ask(house.model()).result().content == "Hello."


class Formats:
    """A plugin with one reasoning format, the given class."""

    def __init__(self, format):
        self.format = format

    @hookimpl
    def mlxk_reasoning_extractors(self):
        yield ReasoningExtractorSpec(
            name="brittle",
            summary="Breaks.",
            matches=lambda model: Evidence(Strength.TEMPLATE, "the test says so"),
            target=self.format,
        )


@pytest.mark.parametrize("moment", ["made", "fed", "closed"])
def test_a_format_that_raises_is_named_and_frees_its_place(house, moment):
    class Format:
        channel = None

        def __init__(self, context):
            self.fail_at("made")

        def feed(self, text, /):
            self.fail_at("fed")
            return ()

        def close(self):
            self.fail_at("closed")
            return ()

        def fail_at(self, here):
            if here == moment:
                raise LookupError("no such channel")

    house.host.register(Formats(Format), name="formats")
    house.open(fake_backend("Hello."))
    generation = house.ask(house.model())
    with pytest.raises(PluginFailure, match=r"format brittle: .* raised LookupError.*--reasoning-format none"):
        list(generation)
    assert list(generation) == []
    house.wait_for(lambda: house.service.status().waiting + house.service.status().active == 0)


@pytest.mark.parametrize(
    ("channel", "event"),
    [
        (None, Delta("content", "x")),
        (None, Delta(Channel.CONTENT, 5)),
        (None, ToolCallDelta(0, "id", "name", None)),
        (None, "x"),
        ("content", Delta(Channel.CONTENT, "x")),
    ],
)
def test_a_format_that_returns_invalid_events_is_named(house, channel, event):
    class Format:
        def __init__(self, context):
            self.channel = channel

        def feed(self, text, /):
            return [event]

        def close(self):
            return ()

    house.host.register(Formats(Format), name="formats")
    house.open(fake_backend("Hello."))
    with pytest.raises(PluginFailure, match=r"reasoning format brittle: .* raised TypeError.*--reasoning-format none"):
        house.ask(house.model()).result()


def test_outcomes_are_counted(house):
    backend = fake_backend(lambda prompt: "one\nUser: two" + "z" * 10_000, step_seconds=0.0005)
    service = house.open(backend)
    model = house.model()
    service.preload(model)
    house.ask(model).result()
    house.ask(model, max_tokens=2).result()
    with house.ask(model) as left:
        house.until(left, Delta)
    with pytest.raises(Exception, match="tokens"):
        house.ask(model, "x" * 10_000).result()
    house.wait_for(lambda: service.status().waiting + service.status().active == 0)
    counters = service.status().counters
    assert (counters.finished, counters.cancelled, counters.failed) == (2, 1, 1)


def test_a_model_that_changes_before_it_is_loaded_again_is_read_again(house):
    house.open(fake_backend("Hello."), ttl=0.05)
    house.ask(house.model(context=100)).result()
    house.wait_for(lambda: not house.service.status().models)
    changed = house.model(context=60)
    assert house.until(house.ask(changed), Started).max_tokens == 60 - len("<user>Hi\n<assistant>")


def test_a_consumer_that_does_not_read_holds_its_own_place_only(house):
    house.open(fake_backend(lambda prompt: prompt, step_seconds=0.0005), concurrency=2)
    model = house.model()
    with house.ask(model, "y" * 3000) as silent:
        house.until(silent, Progress)
        threads = [threading.Thread(target=house.ask(model).result) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(house.GRACE)
        assert not any(thread.is_alive() for thread in threads)


def test_an_interrupt_in_the_middle_of_the_text_work_frees_the_place(house):
    class Format:
        channel = None

        def __init__(self, context):
            pass

        def feed(self, text, /):
            raise KeyboardInterrupt

        def close(self):
            return ()

    house.host.register(Formats(Format), name="formats")
    house.open(fake_backend("z" * 4000, step_seconds=0.01))
    generation = house.ask(house.model())
    with pytest.raises(KeyboardInterrupt):
        list(generation)
    house.wait_for(lambda: house.service.status().waiting + house.service.status().active == 0)


@pytest.mark.parametrize("end", ["finished", "failed"])
def test_the_place_is_free_when_the_last_event_arrives(house, end):
    backend = fake_backend("Hello.")
    load, hold = backend.load, threading.Event()

    class Thoughtful(fake_engine.FakeEngine):
        @property
        def memory(self):  # what it takes is asked when a request is over
            hold.wait(0.05)
            return 1000

    def load_thoughtful(model, context):
        engine = load(model, context)
        engine.__class__ = Thoughtful
        return engine

    backend.load = load_thoughtful
    house.open(backend, concurrency=1, queue=0)
    model = house.model()
    for _ in range(3):
        if end == "failed":
            backend.script.fail_step = RuntimeError("out of order")
            with pytest.raises(EngineFailure):
                house.ask(model).result()
        else:
            assert house.ask(model).result().content == "Hello."


def test_a_load_that_fails_keeps_nothing_of_what_it_has_read(house):
    """The error has a traceback, whose calls held the network: two models were in memory when the next load began."""

    class Network:
        pass

    networks = weakref.WeakSet()

    def load(model, context):
        network = Network()
        networks.add(network)
        try:
            raise LookupError("no such layer")
        except LookupError as error:
            raise RuntimeError("damaged") from error

    backend = fake_backend("Hello.")
    backend.load = load
    house.open(backend)
    with pytest.raises(EngineFailure, match=r"damaged \(.*test_faults.py") as caught:
        house.ask(house.model()).result()
    assert isinstance(caught.value.__cause__.__cause__, LookupError)
    assert len(networks) == 0
