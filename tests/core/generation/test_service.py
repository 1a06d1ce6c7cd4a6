"""The generation service, driven through its public door on scripted engines."""

import gc
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from mlxk_core._errors import (
    BrokenModel,
    ContextLengthExceeded,
    EngineFailure,
    InsufficientMemory,
    Interrupted,
    InvalidOption,
    MlxkError,
    QueueFull,
    ShuttingDown,
    TemplateError,
    UnsupportedModel,
)
from mlxk_core._generation.events import Delta, Finished, Loading, Progress, Started
from mlxk_core._generation.passing import Passing
from mlxk_core._generation.request import GenerationRequest, Message, Sampling
from mlxk_core._models.token_budget import TokenPolicy
from mlxk_core.api import Evidence, ReasoningExtractorSpec, Strength, Tool, ToolCallDelta, hookimpl
from mlxk_testing.fake_engine import fake_backend


def test_the_events_come_in_order_and_the_answer_is_the_joined_stream(house):
    house.open(fake_backend("Hello there."))
    model = house.model()
    events = list(house.ask(model))
    kinds = [type(event) for event in events]
    assert kinds[:3] == [Loading, Started, Progress] and kinds[-1] is Finished
    streamed = "".join(event.text for event in events if isinstance(event, Delta))
    completion = house.ask(model).result()
    assert completion.content == streamed == "Hello there."
    assert completion.finish_reason == "stop"
    assert completion.usage.completion_tokens == len("Hello there.") + 1
    assert completion.usage.prompt_tokens == len("<user>Hi\n<assistant>")


def test_a_loaded_model_is_not_loaded_again(house):
    backend = fake_backend()
    house.open(backend)
    model = house.model()
    house.ask(model).result()
    assert not any(isinstance(event, Loading) for event in house.ask(model))
    assert backend.script.happened("load") == ["alpha"]


def test_the_files_of_a_loaded_model_are_not_read_for_every_request(house):
    house.open(fake_backend())
    model = house.model()
    house.ask(model).result()
    (model.path / "config.json").write_text("{damaged")
    assert house.ask(replace(model)).result().content == "Hello."


def test_ten_first_requests_are_one_load(house):
    backend = fake_backend(load_seconds=0.05)
    house.open(backend)
    model = house.model()
    generations = [house.ask(model) for _ in range(10)]
    assert [g.result().content for g in generations] == ["Hello."] * 10
    assert backend.script.happened("load") == ["alpha"]


def test_requests_of_one_model_share_the_batch(house):
    backend = fake_backend("a long enough answer" * 20, step_seconds=0.05)
    house.open(backend)
    model = house.model()
    first, second = house.ask(model), house.ask(model)
    house.until(first, Delta)
    house.until(second, Delta)
    assert house.service.status().active == 2
    backend.script.step_seconds = 0
    assert first.result().finish_reason == second.result().finish_reason == "stop"


def test_cancelling_frees_the_place_and_keeps_what_was_said(house):
    backend = fake_backend("x" * 10_000, step_seconds=0.005)
    house.open(backend)
    generation = house.ask(house.model())
    house.until(generation, Delta)
    generation.cancel()
    last = list(generation)[-1]
    assert isinstance(last, Finished) and last.reason == "cancelled" and last.usage.completion_tokens >= 1
    house.wait_for(lambda: house.service.status().active == 0)
    assert backend.script.happened("remove")


@pytest.mark.parametrize("phase", ["loading", "reading the prompt", "queued"])
def test_cancelling_works_before_the_first_token(house, phase):
    backend = fake_backend(
        "y" * 100_000, load_seconds=0.3 if phase == "loading" else 0, prefill_chunk=1, step_seconds=0.005
    )
    house.open(backend, concurrency=1)
    model = house.model()
    if phase == "queued":
        house.until(house.ask(model), Progress)
    generation = house.ask(model)
    house.until(generation, {"loading": Loading, "reading the prompt": Progress, "queued": Started}[phase])
    generation.cancel()
    assert list(generation)[-1].reason == "cancelled"
    expected = 1 if phase == "queued" else 0
    house.wait_for(lambda: house.service.status().active == expected and house.service.status().waiting == 0)


def test_a_load_without_waiting_requests_is_cancelled(house):
    backend = fake_backend()
    house.open(backend)
    backend.script.hold_load.set()
    generation = house.ask(house.model())
    house.until(generation, Loading)
    generation.close()
    house.wait_for(lambda: house.service.status().loading is None)
    assert backend.script.happened("load") == []


def test_a_stop_string_ends_the_row_in_the_engine_too(house):
    backend = fake_backend("one\nUser: two" + "z" * 10_000, step_seconds=0.002)
    house.open(backend)
    completion = house.ask(house.model()).result()
    assert (completion.content, completion.finish_reason, completion.stop_string) == ("one", "stop", "\nUser:")
    house.wait_for(lambda: backend.script.happened("remove"))


def test_chat_stops_are_for_chats_and_can_be_turned_off(house):
    house.open(fake_backend("one\nUser: two"))
    model = house.model()
    assert house.ask(model, chat_stops=False).result().content == "one\nUser: two"
    assert house.ask(model, "raw text", raw=True).result().content == "one\nUser: two"


def test_without_a_template_the_turns_are_written_with_their_speakers(house):
    house.open(fake_backend(lambda prompt: prompt, template=False))
    started = house.until(house.ask(house.model(), echo=True), Started)
    assert "Human: and Assistant:" in started.notes[0]
    assert started.prompt_text == "Human: Hi\n\nAssistant:"


def test_a_template_that_refuses_only_an_option_is_not_gone_around(house):
    """Hy3's raises for an effort it does not know; the conversation without a template would be a worse answer."""
    backend = fake_backend()
    backend.script.refuses = lambda messages, options: "No medium." if "medium" in options.values() else None
    house.open(backend)
    with pytest.raises(TemplateError, match="No medium"):
        house.ask(house.model(), template_options={"reasoning_effort": "medium"}).result()
    assert house.ask(house.model(), template_options={"reasoning_effort": "high"}).result().content == "Hello."


def test_a_rejected_system_prompt_becomes_part_of_the_first_user_message(house):
    """Gemma 2's raises "System role not supported"."""
    backend = fake_backend()
    backend.script.refuses = lambda messages, options: "No system." if "system" in {m.role for m in messages} else None
    house.open(backend)
    system, question = Message(role="system", content="Be brief."), Message(role="user", content="Hi")
    folded = house.until(house.ask(house.model(), [system, question], echo=True), Started)
    assert "system message" in folded.notes[0]
    assert folded.prompt_text == "<user>Be brief.\n\nHi\n<assistant>"
    late = house.until(house.ask(house.model(), [question, system], echo=True), Started)
    assert late.prompt_text == "<user>Hi\n\nBe brief.\n<assistant>"


def test_a_conversation_that_the_template_refuses_in_every_form_gets_its_own_error(house):
    backend = fake_backend()
    backend.script.refuses = lambda messages, options: None if messages[0].role == "assistant" else "No."
    house.open(backend)
    turns = [Message(role="system", content="Be brief."), Message(role="user", content="Hi")]
    spoken = house.ask(house.model(), turns)
    assert "Human: and Assistant:" in house.until(spoken, Started).notes[0]
    with pytest.raises(TemplateError, match=r"No\."):
        house.ask(house.model(), turns, keep_to_template=True).result()


def test_tools_that_the_template_has_no_place_for_are_refused(house):
    house.open(fake_backend(template=False))
    with pytest.raises(TemplateError, match="no chat template"):
        house.ask(house.model(), tools=(Tool(name="shout"),)).result()


def test_without_a_template_options_for_it_mean_nothing(house):
    house.open(fake_backend(lambda prompt: prompt, template=False))
    assert house.ask(house.model(), template_options={"enable_thinking": True}).result().content.startswith("Human: Hi")


def test_the_token_budget_of_a_person_is_the_rest_of_the_context_and_that_of_a_server_half(house):
    house.open(fake_backend())
    model = house.model(context=100)
    prompt = len("<user>Hi\n<assistant>")
    assert house.until(house.ask(model), Started).max_tokens == 100 - prompt
    half = house.ask(model, token_policy=TokenPolicy.HALF_CONTEXT)
    assert house.until(half, Started).max_tokens == 50


def test_a_budget_that_does_not_fit_is_clamped_and_said(house):
    house.open(fake_backend())
    started = house.until(house.ask(house.model(context=100), max_tokens=5000), Started)
    assert started.max_tokens < 100 and "5,000" in started.notes[0]


def test_a_prompt_that_does_not_fit_is_refused_before_any_step(house):
    backend = fake_backend()
    house.open(backend)
    with pytest.raises(ContextLengthExceeded) as refusal:
        house.ask(house.model(context=20), "x" * 50).result()
    assert (refusal.value.prompt_tokens, refusal.value.context_length) == (50 + len("<user>\n<assistant>"), 20)
    assert backend.script.happened("add") == []


def test_an_option_the_engine_cannot_use_is_refused(house):
    house.open(fake_backend())
    with pytest.raises(InvalidOption, match="top_k"):
        house.ask(house.model(), sampling=Sampling(top_k=1 << 30)).result()


def test_an_exception_in_a_step_fails_its_requests_and_the_next_one_works(house):
    backend = fake_backend("word " * 1000, step_seconds=0.005)
    house.open(backend)
    model = house.model()
    generations = [house.ask(model) for _ in range(3)]
    for generation in generations:
        house.until(generation, Delta)
    backend.script.fail_step = RuntimeError("the matrix is full")
    for generation in generations:
        with pytest.raises(EngineFailure, match="the matrix is full"):
            list(generation)
    backend.script.answer = lambda prompt: "well again"
    assert house.ask(model).result().finish_reason == "stop"
    assert backend.script.happened("load") == ["alpha"]


def test_an_engine_that_cannot_be_reset_is_reloaded(house):
    backend = fake_backend(step_seconds=0.002)
    house.open(backend)
    model = house.model()
    backend.script.fail_step, backend.script.faults["reset"] = RuntimeError("broken"), RuntimeError("for good")
    with pytest.raises(EngineFailure):
        house.ask(model).result()
    del backend.script.faults["reset"]
    assert house.ask(model).result().content == "Hello."
    assert backend.script.happened("load") == ["alpha", "alpha"]


def test_with_room_for_both_two_models_stay_and_run(house):
    alpha, beta = fake_backend("a" * 300, kind="a", step_seconds=0.002), fake_backend("b", kind="b", load_seconds=0.05)
    house.open(alpha, beta, memory=2000)
    running = house.ask(house.model("alpha", kind="a"))
    house.until(running, Progress)
    assert house.ask(house.model("beta", kind="b")).result().content == "b"
    assert running.result().content == "a" * 300
    assert {m.name for m in house.service.status().models} == {"alpha", "beta"}


def test_a_load_that_needs_more_than_was_estimated_unloads_an_idle_model(house):
    alpha, beta = fake_backend("a", kind="a"), fake_backend("b", kind="b")
    house.open(alpha, beta, memory=2000)
    house.ask(house.model("alpha", kind="a")).result()
    beta.script.fail_load = InsufficientMemory("It is larger.", needed=1500, free=1000)
    assert house.ask(house.model("beta", kind="b")).result().content == "b"
    assert {m.name for m in house.service.status().models} == {"beta"}
    beta.script.fail_load = InsufficientMemory("It is larger.", needed=1500, free=1000)
    house.service.unload(house.model("beta", kind="b"))
    with pytest.raises(InsufficientMemory):  # nothing is idle
        house.ask(house.model("beta", kind="b")).result()


def test_a_load_does_not_stop_the_other_models_streams(house):
    alpha, beta = fake_backend("a" * 100, kind="a"), fake_backend("b", kind="b")
    house.open(alpha, beta, memory=2000)
    first_model = house.model("alpha", kind="a")
    house.ask(first_model).result()
    beta.script.hold_load.set()
    loading = house.ask(house.model("beta", kind="b"))
    house.until(loading, Loading)
    assert house.ask(first_model).result().content == "a" * 100
    assert beta.script.happened("load") == []
    beta.script.hold_load.clear()
    assert loading.result().content == "b"


def test_without_room_the_old_model_finishes_first_and_is_really_unloaded(house):
    alpha, beta = fake_backend("a" * 100, kind="a", step_seconds=0.002), fake_backend("b", kind="b")
    house.open(alpha, beta, memory=1500)
    first_model, second_model = house.model("alpha", kind="a"), house.model("beta", kind="b")
    running = house.ask(first_model)
    house.until(running, Progress)
    swapped = house.ask(second_model)
    late = house.ask(first_model)
    assert swapped.result().content == "b"
    assert running.result().content == "a" * 100
    assert alpha.script.happened("close") == ["alpha"]
    assert late.result().content == "a" * 100
    assert beta.script.happened("close") == ["beta"]
    assert [m.name for m in house.service.status().models] == ["alpha"]


def test_a_model_without_room_does_not_hold_back_others_until_a_long_response_ends(house):
    alpha, beta = fake_backend("a" * 1_000_000, kind="a", step_seconds=0.002), fake_backend("b", kind="b")
    house.open(alpha, beta, memory=1500)
    loaded = house.model("alpha", kind="a", context=1 << 21)
    endless = house.ask(loaded)
    house.until(endless, Progress)
    swapped = house.ask(house.model("beta", kind="b"))
    assert house.ask(loaded, max_tokens=3).result().content == "aaa"
    assert swapped.next(0) is None  # it has begun nothing
    endless.close()
    assert swapped.result().content == "b"


def test_others_pass_by_turns_and_each_that_is_first_is_waited_for_anew():
    passing = Passing()
    assert [now for now in range(0, 200, 5) if passing.may_pass(1, now)] == [10, 15, 40, 45, 90, 95, 160, 165]
    assert not passing.may_pass(2, 200)
    assert not passing.may_pass(2, 209)
    assert passing.may_pass(2, 211)


def test_work_that_is_cancelled_does_not_wait_for_its_model(house):
    alpha, beta = fake_backend("a" * 1_000_000, kind="a", step_seconds=0.002), fake_backend(kind="b")
    house.open(alpha, beta, memory=1500)
    endless = house.ask(house.model("alpha", kind="a", context=1 << 21))
    house.until(endless, Progress)

    def leave():
        raise Interrupted("The client has left.")

    with pytest.raises(Interrupted):
        next(house.service.run_tasks(house.model("beta", kind="b"), [lambda engine: 1], waiting=leave))
    house.wait_for(lambda: house.service.status().waiting == 0)
    endless.close()


def test_a_failed_load_costs_the_loaded_model_nothing(house):
    alpha, beta = fake_backend(kind="a"), fake_backend(kind="b", fail_load=BrokenModel("the weights are torn"))
    house.open(alpha, beta, memory=2000)
    first_model = house.model("alpha", kind="a")
    house.ask(first_model).result()
    with pytest.raises(BrokenModel, match="torn"):
        house.ask(house.model("beta", kind="b")).result()
    assert house.ask(first_model).result().content == "Hello."
    assert alpha.script.happened("load") == ["alpha"]


def test_a_load_that_failed_is_not_tried_again_with_the_same_files(house):
    torn = BrokenModel("torn")
    torn.__cause__ = ValueError("the reason")
    backend = fake_backend(fail_load=torn, load_seconds=1)
    house.open(backend)
    model = house.model()
    with pytest.raises(BrokenModel, match="torn") as first:
        house.ask(model).result()
    assert first.value.__cause__ is not None
    assert backend.script.fail_load is None  # the next load succeeds
    with pytest.raises(BrokenModel, match="torn") as second:
        house.ask(model).result()
    assert second.value is not first.value
    assert backend.script.happened("load") == []
    with (model.path / "config.json").open("a", encoding="utf-8") as file:
        file.write(" ")
    assert house.ask(model).result().content == "Hello."


@pytest.mark.parametrize("error", [InsufficientMemory("no room"), OSError("the disk"), RuntimeError("a bug")])
def test_a_load_that_failed_without_fault_of_the_files_is_tried_again(house, error):
    backend = fake_backend(fail_load=error, load_seconds=1)
    house.open(backend)
    with pytest.raises(MlxkError):
        house.ask(house.model()).result()
    assert house.ask(house.model()).result().content == "Hello."


def test_a_load_that_failed_at_once_is_soon_tried_again(house):
    backend = fake_backend(fail_load=UnsupportedModel("not here"))
    house.open(backend)
    with pytest.raises(UnsupportedModel):
        house.ask(house.model()).result()

    def answers():
        with suppress(UnsupportedModel):
            return house.ask(house.model()).result().content == "Hello."

    house.wait_for(answers)


def test_a_damaged_model_is_refused_before_it_costs_anybody_a_place(house):
    alpha, beta = fake_backend(kind="a"), fake_backend(kind="b")
    house.open(alpha, beta, memory=1500)
    house.ask(house.model("alpha", kind="a")).result()
    damaged = house.model("beta", kind="b")
    (damaged.path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BrokenModel, match="damaged"):
        house.ask(damaged)
    assert alpha.script.happened("close") == []


@pytest.mark.parametrize(
    ("need", "budget", "told"),
    [(3_000_000_000, 2_000_000_000, r"3\.0 GB.*2\.0 GB"), (2_500_000, 10, r"2\.5 MB.* 10 B")],
)
def test_a_model_larger_than_the_budget_is_refused_with_both_numbers(house, need, budget, told):
    house.open(fake_backend(memory=need), memory=budget)
    with pytest.raises(InsufficientMemory, match=told):
        house.ask(house.model()).result()


def test_a_model_that_no_backend_accepts_is_rejected_at_once(house):
    house.open(fake_backend(kind="a"))
    with pytest.raises(UnsupportedModel):
        house.ask(house.model(kind="something else"))


def test_the_queue_is_bounded_and_says_when_to_come_back(house):
    house.open(fake_backend("z" * 10_000, step_seconds=0.002), concurrency=1, queue=2)
    model = house.model()
    taken = [house.ask(model) for _ in range(3)]
    with pytest.raises(QueueFull) as refusal:
        house.ask(model)
    assert 1 <= refusal.value.retry_after <= 30
    taken[1].close()
    house.wait_for(lambda: house.service.status().waiting + house.service.status().active == 2)
    house.ask(model)


def test_waiting_requests_are_served_in_order(house):
    backend = fake_backend(lambda prompt: prompt)
    house.open(backend, concurrency=1)
    model = house.model()
    generations = [house.ask(model, f"request {n}") for n in range(5)]
    threads = [threading.Thread(target=g.result) for g in generations]
    house.service.preload(model)
    for generation in generations:
        house.until(generation, Started)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(house.GRACE)
    assert [row.id for row in backend.script.happened("add")] == sorted(r.id for r in backend.script.happened("add"))


def test_closing_fails_running_requests_and_releases_everything(house):
    backend = fake_backend("q" * 100_000, step_seconds=0.002)
    service = house.open(backend)
    model = house.model()
    generation = house.ask(model)
    house.until(generation, Delta)
    assert service.close(house.GRACE)
    with pytest.raises(ShuttingDown):
        list(generation)
    with pytest.raises(ShuttingDown):
        house.ask(model)
    assert backend.script.log[-2:] == [("close", "alpha"), ("exit", None)]


def test_draining_refuses_newcomers_and_lets_the_rest_finish(house):
    service = house.open(fake_backend("d" * 50, step_seconds=0.002))
    model = house.model()
    running = house.ask(model)
    house.until(running, Progress)
    service.drain()
    with pytest.raises(ShuttingDown):
        house.ask(model)
    assert running.result().content == "d" * 50


def test_an_idle_model_is_unloaded_when_its_time_is_up(house):
    backend = fake_backend()
    house.open(backend, ttl=0.05)
    house.ask(house.model()).result()
    house.wait_for(lambda: backend.script.happened("close") == ["alpha"])
    assert house.service.status().models == ()


def test_a_conversation_may_be_rendered_without_being_tokenized(house):
    service, model = house.open(fake_backend()), house.model()
    request = GenerationRequest(model=model, prompt=[Message(role="user", content="Hi")])
    rendered = service.prompt(request, tokenize=False)
    assert (rendered.text, list(rendered.tokens)) == (service.prompt(request).text, [])


def test_the_prompt_of_a_request_is_what_its_engine_reads(house):
    service, model = house.open(fake_backend()), house.model()
    request = GenerationRequest(model=model, prompt=[Message(role="user", content="Hi")], max_tokens=1)
    prompt = service.prompt(request)
    started = next(event for event in service.submit(request) if isinstance(event, Started))
    assert len(prompt.tokens) == started.prompt_tokens
    assert "Hi" in prompt.text
    with service.tokenizer(model) as tokenizer:
        assert tokenizer.decode(list(prompt.tokens)) == prompt.text
        assert service.status().models[0].leases == 1
    house.wait_for(lambda: service.status().models[0].leases == 0)


def test_preload_loads_or_raises(house):
    alpha, beta = fake_backend(kind="a"), fake_backend(kind="b", fail_load=BrokenModel("torn"))
    service = house.open(alpha, beta)
    service.preload(house.model("alpha", kind="a"))
    assert [m.name for m in service.status().models] == ["alpha"]
    with pytest.raises(BrokenModel, match="torn"):
        service.preload(house.model("beta", kind="b"))


def test_a_hanging_engine_shows_in_the_status_and_does_not_keep_close_waiting(house):
    backend = fake_backend("h" * 100)
    service = house.open(backend)
    backend.script.hang.set()
    generation = house.ask(house.model())
    house.until(generation, Started)
    house.wait_for(lambda: service.status().busy and service.status().seconds_since_progress > 0.05)
    assert not service.close(0.05)
    backend.script.hang.clear()


def test_idle_time_before_a_load_does_not_count_as_a_stall(house):
    alpha, beta = fake_backend(kind="a"), fake_backend("b", kind="b")
    began, go_on = threading.Event(), threading.Event()
    load = beta.load

    def load_slowly(model, context):  # as while Python imports a backend's libraries: no sign of life yet
        began.set()
        go_on.wait(house.GRACE)
        return load(model, context)

    beta.load = load_slowly
    service = house.open(alpha, beta)
    house.ask(house.model("alpha", kind="a")).result()
    idle_since = time.monotonic()
    house.wait_for(lambda: time.monotonic() - idle_since > 0.3)
    asked = time.monotonic()
    generation = house.ask(house.model("beta", kind="b"))
    assert began.wait(house.GRACE)
    silent = service.status().seconds_since_progress
    assert silent <= time.monotonic() - asked
    go_on.set()
    assert generation.result().content == "b"


def test_next_gives_up_after_its_time(house):
    backend = fake_backend()
    house.open(backend)
    backend.script.hold_load.set()
    generation = house.ask(house.model())
    assert isinstance(generation.next(house.GRACE), Loading)
    assert generation.next(0.01) is None
    backend.script.hold_load.clear()
    assert generation.result().content == "Hello."


def test_token_ids_are_a_prompt_too_and_strangers_among_them_are_refused(house):
    house.open(fake_backend(lambda prompt: prompt.upper()))
    model = house.model()
    assert house.ask(model, [ord("a"), ord("b")]).result().content == "AB"
    with pytest.raises(InvalidOption, match="vocabulary"):
        house.ask(model, [1 << 40]).result()
    with pytest.raises(InvalidOption, match="empty"):
        house.ask(model, "", raw=True).result()


class Shouting:
    """A plugin that finds tool calls around whatever format a model has: `!` is one."""

    def __init__(self, shouts):
        self.shouts = shouts

    @hookimpl
    def mlxk_reasoning_extractors(self):
        yield ReasoningExtractorSpec(
            name="shouting",
            summary="Calls with an exclamation mark.",
            matches=lambda model: Evidence(Strength.TEMPLATE, "the test says so"),
            target=self.shouts,
            tool_calls="around",
        )


def test_tool_calls_are_looked_for_around_the_format_only_when_the_request_has_tools(house):
    class Shouts:
        def __init__(self, context):
            self.inner = context.inner
            self.channel = context.inner.channel

        def feed(self, text, /):
            yield from self.inner.feed(text.replace("!", ""))
            if "!" in text:
                yield ToolCallDelta(0, "call_1", "shout", "{}")

        def close(self):
            return self.inner.close()

    house.host.register(Shouting(Shouts), name="shouting")
    house.open(fake_backend("Hey!"))
    model = house.model()
    assert house.ask(model).result().content == "Hey!"
    completion = house.ask(model, tools=(Tool(name="shout"),)).result()
    assert (completion.content, completion.finish_reason) == ("Hey", "tool_calls")
    assert completion.tool_calls[0].name == "shout"


def test_how_much_memory_a_model_takes_is_asked_once_though_it_waits_for_room(house):
    alpha, beta = fake_backend("a" * 50, kind="a", step_seconds=0.001), fake_backend("b", kind="b")
    asked, estimate = [], beta.estimate
    beta.estimate = lambda model: asked.append(model) or estimate(model)
    house.open(alpha, beta, memory=1500)
    running = house.ask(house.model("alpha", kind="a"))
    house.until(running, Progress)
    assert house.ask(house.model("beta", kind="b")).result().content == "b"
    assert len(asked) == 1


def long_lists():
    """How many lists of many numbers there are: each collection of garbage visits all their items."""
    return sum(type(each) is list and len(each) > 30_000 and type(each[-1]) is int for each in gc.get_objects())


@pytest.mark.parametrize("options", [{"raw": True}, {}], ids=["text", "conversation"])
def test_tokens_of_prompts_that_wait_are_kept_without_objects(house, options):
    house.open(fake_backend("y" * 100_000, prefill_chunk=1, step_seconds=0.005), concurrency=1)
    model = house.model(context=100_000)
    running = house.ask(model)
    house.until(running, Progress)
    before = long_lists()
    waiting = [house.ask(model, "x" * 40_000, **options) for _ in range(3)]
    for each in waiting:
        house.until(each, Started)
    assert long_lists() == before
    for each in (running, *waiting):
        each.cancel()
