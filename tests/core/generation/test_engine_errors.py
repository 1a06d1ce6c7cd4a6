"""What an engine does wrong costs the requests it concerns, ends them, and names the backend's plugin."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from mlxk_core.api.backends import Prefilled, PromptScored, RowFailed, Sampled, ScoredToken
from mlxk_core.api.errors import ContextLengthExceeded, EngineFailure, InvalidOption
from mlxk_core.api.generation import Constraint, Delta, Message, Sampling, Tool, ToolCall
from mlxk_testing.fake_engine import fake_backend

_MEMBERS = ("tokenizer", "native_stops", "memory", "render", "check", "add", "step", "remove", "reset", "close")


def odd_backend(change, **options):
    """A scripted backend whose engines are changed by `change(engine)` after each load."""
    backend = fake_backend(**options)
    load = backend.load

    def load_odd(model, context):
        engine = load(model, context)
        return change(engine) or engine

    backend.load = load_odd
    return backend


def failing(*path):
    """Make the method that `path` leads to raise."""

    def change(engine):
        holder = engine
        for name in path[:-1]:
            holder = getattr(holder, name)

        def broken(*args, **options):
            raise LookupError("no such shelf")

        setattr(holder, path[-1], broken)

    return change


@pytest.mark.parametrize(
    "path", [("render",), ("check",), ("add",), ("step",), ("tokenizer", "encode"), ("tokenizer", "detokenizer")]
)
def test_an_error_names_the_plugin_the_call_and_the_place_and_keeps_its_cause(house, path):
    house.open(odd_backend(failing(*path)))
    with pytest.raises(EngineFailure, match="no such shelf") as caught:
        house.ask(house.model()).result()
    failure = caught.value
    assert (failure.details["plugin"], failure.details["backend"]) == ("fake0", "fake")
    assert "fake0" in str(failure) and "LookupError" in str(failure)
    assert "test_engine_errors.py:" in failure.details["place"]
    cause = failure.__cause__
    while cause is not None and not isinstance(cause, LookupError):
        cause = cause.__cause__
    assert cause is not None


@pytest.mark.parametrize("name", ["step", "tokenizer", "close"])
def test_an_engine_that_lacks_a_member_is_refused_when_it_is_loaded(house, name):
    class Partial:
        pass

    def change(engine):
        partial = Partial()
        for member in _MEMBERS:
            if member != name:
                setattr(partial, member, getattr(engine, member))
        return partial

    house.open(odd_backend(change))
    with pytest.raises(EngineFailure, match=rf"Partial, which has no `{name}`"):
        house.ask(house.model()).result()


def test_a_backend_that_returns_no_engine_is_named(house):
    backend = fake_backend()
    backend.load = lambda model, context: None
    house.open(backend)
    with pytest.raises(EngineFailure, match=r"fake0.*NoneType"):
        house.ask(house.model()).result()


@dataclass(slots=True)
class Unprintable(Sampled):
    """An event whose own code raises."""

    def __repr__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "event",
    [
        lambda id: RowFailed(id, None),
        lambda id: Unprintable(id, None),
        lambda id: PromptScored(id, None),
        lambda id: PromptScored(id, 5),
        lambda id: Sampled(id, None),
        lambda id: Sampled(id, 65, "over"),
        lambda id: Prefilled(id, 5, 2),
        lambda id: Prefilled(id, None, None),
        lambda id: PromptScored(id, [ScoredToken(65, -1.0, 1, ((66,),))]),
        lambda id: PromptScored(id, [ScoredToken(65, -1.0, 1, (("x", -1.0),))]),
        lambda id: type("Odd", (), {"id": id})(),
    ],
)
def test_a_malformed_event_fails_its_row_only(house, event):
    def change(engine):
        step = engine.step

        def odd_step():
            events = list(step())
            bad = [e.id for e in events if engine._rows[e.id].row.max_tokens == 7] if engine._rows else []
            return [e for e in events if e.id not in bad] + [event(id) for id in bad]

        engine.step = odd_step

    backend = odd_backend(change, answer="x" * 50, step_seconds=0.001)
    house.open(backend)
    model = house.model()
    good, bad = house.ask(model), house.ask(model, max_tokens=7)
    with pytest.raises(EngineFailure, match="fake0"):
        bad.result()
    assert good.result().content == "x" * 50
    house.wait_for(lambda: house.service.status().active == 0)


def test_too_many_events_in_a_step_fail_their_row_only(house):
    def change(engine):
        step = engine.step
        engine.step = lambda: [
            e
            for e in step()
            for _ in range(5_000 if e.id in engine._rows and engine._rows[e.id].row.max_tokens == 7 else 1)
        ]

    backend = odd_backend(change, answer="x" * 50, step_seconds=0.001)
    house.open(backend)
    good, bad = house.ask(house.model()), house.ask(house.model(), max_tokens=7)
    with pytest.raises(EngineFailure, match="fake0"):
        bad.result()
    assert good.result().content == "x" * 50


def test_events_of_other_rows_and_after_the_end_are_ignored(house):
    def change(engine):
        step = engine.step

        def talkative():
            events = list(step())
            more = [Sampled(e.id, 66) for e in events if isinstance(e, Sampled) and e.finish]
            return [Sampled(10**9, 65), *events, *more]

        engine.step = talkative

    house.open(odd_backend(change))
    assert house.ask(house.model()).result().content == "Hello."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encode", lambda text, add_special_tokens: range(9)),
        ("encode", lambda text, add_special_tokens: [65] * 10**6),
        ("detokenizer", lambda: type("D", (), {"add": lambda self, token: None, "finish": lambda self: ""})()),
        ("detokenizer", lambda: type("D", (), {"add": lambda self, token: "x" * 10**6, "finish": lambda self: ""})()),
    ],
)
def test_a_tokenizer_that_returns_too_much_or_nothing_fails_the_request(house, name, value):
    house.open(odd_backend(lambda engine: setattr(engine.tokenizer, name, value)))
    with pytest.raises(EngineFailure, match="fake0"):
        house.ask(house.model()).result()
    house.wait_for(lambda: house.service.status().waiting + house.service.status().active == 0)


@pytest.mark.parametrize("events", [[], [Sampled(10**9, 65)]])
def test_an_engine_without_progress_fails_the_request_and_serves_the_next_one(house, events):
    def change(engine):
        step = engine.step
        engine.step = lambda: events if engine.script.hang.is_set() else step()

    backend = odd_backend(change)
    house.open(backend, stall=0.2)
    backend.script.hang.set()
    model = house.model()
    with pytest.raises(EngineFailure, match="no progress"):
        house.ask(model).result()
    house.wait_for(lambda: house.service.status().active == 0)
    backend.script.hang.clear()
    assert house.ask(model).result().content == "Hello."


def test_a_step_that_never_returns_fails_its_request(house):
    backend = fake_backend()
    house.open(backend, stall=0.2)
    backend.script.hang.set()
    generation = house.ask(house.model())
    with pytest.raises(EngineFailure, match="no progress"):
        generation.result()
    backend.script.hang.clear()
    house.wait_for(lambda: house.service.status().active == 0)


def test_a_slow_row_is_not_a_stall_while_its_engine_works(house):
    backend = fake_backend("x" * 400, step_seconds=0.002)
    house.open(backend, stall=0.2)
    assert house.ask(house.model()).result().content == "x" * 400


@pytest.mark.parametrize("raw", [True, False])
def test_a_prompt_that_cannot_fit_is_refused_before_it_is_tokenized_as_a_whole(house, raw):
    sizes = []

    def change(engine):
        encode = engine.tokenizer.encode

        def counted(text, *, add_special_tokens):
            sizes.append(len(text))
            return encode(text, add_special_tokens=add_special_tokens)

        engine.tokenizer.encode = counted

    house.open(odd_backend(change))
    with pytest.raises(ContextLengthExceeded) as caught:
        house.ask(house.model(context=1000), "x" * 4_000_000, raw=raw).result()
    assert caught.value.context_length == 1000 and caught.value.prompt_tokens >= 1000
    assert sum(sizes) < 100_000


def test_several_answers_to_one_prompt_tokenize_it_once(house):
    calls = []

    def change(engine):
        encode = engine.tokenizer.encode
        engine.tokenizer.encode = lambda text, **options: calls.append(text) or encode(text, **options)

    house.open(odd_backend(change))
    model = house.model()
    request = house.request(model)
    generations = house.service.submit_all([replace(request, sampling=Sampling(seed=seed)) for seed in range(4)])
    assert [generation.result().content for generation in generations] == ["Hello."] * 4
    assert len(calls) == 1
    assert any(isinstance(event, Delta) for event in house.ask(model))


def test_each_of_several_requests_has_its_sizes_checked(house):
    house.open(odd_backend(lambda engine: None))
    fine = house.request(house.model())
    call = ToolCall(id="c", name="f", arguments='{"a": [' + "0," * 100_001 + "0]}")
    many = replace(fine, prompt=[*fine.prompt, Message(role="assistant", content="", tool_calls=(call,))])
    schema = Constraint(kind="json_schema", value={"enum": [0] * 100_001})
    tool = Tool(name="f", parameters={"description": "x" * (1 << 20)})
    options = {"a": [0] * 10_001}
    wrongs = (
        many,
        replace(fine, constraint=schema),
        replace(fine, tools=(tool,)),
        replace(fine, template_options=options),
    )
    for wrong in wrongs:
        with pytest.raises(InvalidOption):
            house.service.submit_all([fine, wrong])
