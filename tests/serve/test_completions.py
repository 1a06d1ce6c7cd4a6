"""`/v1/completions`: text as it is, no turns."""

from __future__ import annotations

import pytest

from mlxk_core.api import ConstraintSpec, hookimpl
from mlxk_testing.fake_engine import fake_backend

PATH = "/v1/completions"


@pytest.fixture
def complete(client):
    return lambda prompt, **fields: client.post(PATH, {"model": "fake", "prompt": prompt, **fields})


def test_a_completion_has_every_key_the_contract_asks_for(complete):
    body = complete("Say hello.").json
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert body["choices"] == [{"text": "Hello, world.", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"]["prompt_tokens"] == len("Say hello.")


def test_the_prompt_reaches_the_model_as_it_is(complete, engine):
    prompts = []
    engine.script.answer = lambda prompt: prompts.append(prompt) or "ok"
    complete("one")
    complete(["two"])
    complete([ord(c) for c in "three"])
    complete([[ord(c) for c in "four"]])
    assert prompts == ["one", "two", "three", "four"]


def test_sixteen_tokens_are_the_default(complete, engine):
    engine.script.answer = lambda prompt: "x" * 100
    answer = complete("go").json
    assert answer["choices"][0] == {"text": "x" * 16, "index": 0, "logprobs": None, "finish_reason": "length"}
    assert complete("go", max_tokens=20).json["usage"]["completion_tokens"] == 20


def test_several_prompts_have_n_choices_each_in_order(complete, engine):
    engine.script.answer = lambda prompt: prompt.upper()
    body = complete(["ab", "cde"], n=2).json
    assert [choice["text"] for choice in body["choices"]] == ["AB", "AB", "CDE", "CDE"]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert body["usage"]["prompt_tokens"] == 5
    assert body["usage"]["completion_tokens"] == 2 * (3 + 4)


def test_echo_puts_the_prompt_first_streamed_and_not(complete, client):
    assert complete("Well: ", echo=True).json["choices"][0]["text"] == "Well: Hello, world."
    assert complete([ord("A")], echo=True).json["choices"][0]["text"] == "AHello, world."
    with client.stream({"model": "fake", "prompt": "Well: ", "echo": True}, PATH) as events:
        chunks = list(events)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == "Well: Hello, world."
    refused = complete("x", echo=True, logprobs=1)
    assert (refused.status, refused.error["param"]) == (400, "prompt_logprobs")


@pytest.mark.parametrize("prompt", [[], [[]], [[72], []], ["one", 2], [["one"]]])
def test_an_invalid_prompt_is_rejected_with_its_field(complete, prompt):
    refused = complete(prompt)
    assert refused.status == 400
    assert refused.error["param"].startswith("prompt")


def test_logprobs_have_the_old_shape(complete, client):
    logprobs = complete("go", logprobs=2).json["choices"][0]["logprobs"]
    assert "".join(logprobs["tokens"]) == "Hello, world."
    assert logprobs["text_offset"] == list(range(13))
    assert len(logprobs["token_logprobs"]) == len(logprobs["top_logprobs"]) == 13
    assert all(len(top) == 2 for top in logprobs["top_logprobs"])
    with client.stream({"model": "fake", "prompt": "go", "logprobs": 2}, PATH) as events:
        streamed = [chunk["choices"][0]["logprobs"] for chunk in events if chunk != "[DONE]"]
    for key in logprobs:
        assert [value for part in streamed if part for value in part[key]] == logprobs[key]


def test_a_stream_has_the_shape_of_the_whole(client):
    body = {"model": "fake", "prompt": "go", "stream_options": {"include_usage": True}}
    with client.stream(body, PATH) as events:
        *chunks, usage, done = list(events)
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "Hello, world."
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"][0]["finish_reason"]] == ["stop"]
    assert usage["usage"]["total_tokens"] == 2 + 14


def test_chat_stops_do_not_end_a_raw_text(complete, engine):
    engine.script.answer = lambda prompt: "a\nUser: b"
    assert complete("go").json["choices"][0]["text"] == "a\nUser: b"


def test_stop_strings_act_here_too(complete, engine):
    engine.script.answer = lambda prompt: "a\nUser: b"
    assert complete("go", stop=["\nUser"]).json["choices"][0]["text"] == "a"


def test_more_prompts_than_can_run_at_once_are_rejected(complete):
    answer = complete(["x"] * 65)
    assert (answer.status, answer.error["param"]) == (400, "prompt")


class Recorder:
    """A compiler that allows everything and keeps what it gets."""

    complete = False

    def __init__(self):
        self.checked, self.compiled = [], []

    @hookimpl
    def mlxk_constraints(self):
        yield ConstraintSpec(kind="regex", target=lambda: self)

    def check(self, grammar, /):
        self.checked.append(grammar)

    def compile(self, grammar, vocabulary, /):
        self.compiled.append(grammar)
        return self

    def mask(self):
        return None

    def accept(self, token, /):
        pass


def test_prompts_share_one_constraint(serve, host, kit):
    """Compilers know by that what they have seen: a large schema is read once, not for each prompt."""
    recorder = Recorder()
    host.register(fake_backend("Hello.", spec={"constraints": True}), name="fake")
    host.register(recorder, name="recorder")
    kit.cached_fake("fake")
    body = {"model": "fake", "prompt": ["a", "b", "c"], "guided_regex": "Hello."}
    assert serve().client.post(PATH, body).status == 200
    assert len(recorder.checked) == len(recorder.compiled) == 3
    assert len({id(part) for part in (*recorder.checked, *recorder.compiled)}) == 1
