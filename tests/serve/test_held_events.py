"""Responses with very many log probabilities, and streams that are far ahead of their readers."""

from __future__ import annotations

import contextlib
import gc
import io
import json

import pytest

from mlxk_core.api import hookimpl
from mlxk_core.api.formats import Evidence, PlainText, Strength
from mlxk_core.api.generation import Channel, Delta, TokenLogprob
from mlxk_core.api.hooks import ReasoningExtractorSpec
from mlxk_core.api.server import ApiError
from mlxk_serve.http.body_limits import checked_size
from mlxk_serve.http.byte_budget import ByteBudget
from mlxk_serve.http.held_events import HeldEvents

TOKENS = 1_500
ALTERNATIVES = 20  # with them, more log probabilities than are encoded on the thread of all responses
REQUESTS = {
    "/v1/chat/completions": (
        {"messages": [{"role": "user", "content": "Hi"}], "logprobs": True, "top_logprobs": ALTERNATIVES},
        lambda choice: choice["logprobs"]["content"],
    ),
    "/v1/completions": (
        {"prompt": "Hi", "logprobs": ALTERNATIVES},
        lambda choice: choice["logprobs"]["top_logprobs"],
    ),
}


@pytest.mark.parametrize("path", REQUESTS)
def test_tens_of_thousands_of_log_probabilities_are_those_of_the_stream(serve, engine, path):
    client = serve().client
    engine.script.answer = lambda prompt: "xyz" * (TOKENS // 3)
    fields, entries = REQUESTS[path]
    body = {"model": "fake", "max_tokens": TOKENS, "ignore_eos": True, **fields}
    whole = entries(client.post(path, body).json["choices"][0])
    with client.stream(body, path) as events:
        streamed = [
            entry
            for event in events
            if event != "[DONE]" and event["choices"] and event["choices"][0].get("logprobs")
            for entry in entries(event["choices"][0])
        ]
    assert len(whole) == TOKENS
    assert whole == streamed


def test_a_response_that_is_not_streamed_has_a_number_of_log_probabilities(serve, engine, kit):
    client = serve(limits={"logprobs": 800_000}).client
    engine.script.answer = lambda prompt: "xyz" * 300
    fields = {"logprobs": True, "top_logprobs": 10, "max_tokens": 900}
    rejected = client.chat(**fields)
    assert (rejected.status, rejected.error["code"]) == (400, "too_many_logprobs")
    kit.until(lambda: client.status()["active"] == 0)
    assert len(client.streamed(**fields)) > 900
    for _ in range(5):  # what was held is given back
        small = client.chat(logprobs=True, top_logprobs=10, max_tokens=200)
        assert len(small.json["choices"][0]["logprobs"]["content"]) == 200


class Holding(PlainText):
    """Holds all text back, as a format does that has begun to read a call."""

    channel = None

    def __init__(self, context):
        super().__init__()

    def feed(self, text, /):
        return ()


class HoldingFormat:
    @hookimpl
    def mlxk_reasoning_extractors(self):
        evidence = Evidence(Strength.TEMPLATE, "the test says so")
        yield ReasoningExtractorSpec(name="holding", summary="-", matches=lambda model: evidence, target=Holding)


def test_log_probabilities_of_text_that_a_format_holds_back_count(serve, engine, host, kit):
    host.register(HoldingFormat(), name="holding")
    kit.cached_fake("wide", context=400_000)
    client = serve(limits={"logprobs": 800_000}).client
    client.model = "wide"
    engine.script.answer = lambda prompt: "x" * 200_000
    rejected = client.chat(logprobs=True, top_logprobs=20, max_tokens=200_000)
    assert (rejected.status, rejected.error["code"]) == (400, "too_many_logprobs")


def test_such_responses_share_a_number_of_log_probabilities():
    budget = ByteBudget(4_000)  # each takes almost 1,000
    delta = Delta(Channel.CONTENT, "x", (TokenLogprob("x" * 900, -1.0),))
    held = [HeldEvents(budget, "a") for _ in range(4)]
    for each in held[:3]:
        each.add(0, delta)
    for each in held[3], HeldEvents(budget, "a"):
        with pytest.raises(ApiError) as caught:
            each.add(0, delta)
        assert (caught.value.status, caught.value.code) == (503, "too_many_logprobs")
    HeldEvents(budget, "b").add(0, Delta(Channel.CONTENT, "x", (TokenLogprob("x" * 600, -1.0),)))
    held[0].release()
    HeldEvents(budget, "a").add(0, delta)


def test_log_probabilities_that_are_written_need_not_be_read_before_others_are_held(serve, engine):
    client = serve(limits={"logprobs": 2_800_000, "stalled_time": 1e6, "unsent": 4096}).client
    engine.script.answer = lambda prompt: "xyz" * 300
    with contextlib.ExitStack() as stack:
        for _ in range(9):  # each holds more than an eighth
            sock = stack.enter_context(client.begin_chat(logprobs=True, top_logprobs=20, max_tokens=900))
            assert sock.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("tokens, fields", [(60_000, {}), (20_000, {"logprobs": True, "top_logprobs": 20})])
def test_a_stream_that_is_far_ahead_of_its_reader_is_ended(serve, engine, kit, tokens, fields):
    kit.cached_fake("wide", context=400_000)
    client = serve(limits={"stalled_time": 1e6, "unsent": 4096}).client
    client.model = "wide"
    engine.script.answer = lambda prompt: "x" * tokens
    sock = client.begin_chat(max_tokens=tokens, stream=True, **fields)
    with sock:
        kit.until(lambda: client.metric("mlxk_disconnects_total") == 1)
        received = kit.everything(sock)
    assert received.startswith(b"HTTP/1.1 200")
    assert not received.endswith(b"0\r\n\r\n")
    assert b"[DONE]" not in received
    assert client.chat(max_tokens=1).status == 200


def test_deltas_that_are_held_are_few_objects():
    """Each collection of garbage visits every object, with the interpreter's lock held."""
    held = HeldEvents(ByteBudget(1 << 24), "a")
    for number in range(20_000):
        held.add(number % 2, Delta(Channel.CONTENT, f"{number} "))
    gc.collect()
    assert sum(isinstance(each, Delta) for each in gc.get_objects()) < 2_000
    one, other = held.completions()
    assert one.content == "".join(f"{number} " for number in range(0, 20_000, 2))
    assert other.parts == (Delta(Channel.CONTENT, other.content),)


@pytest.mark.parametrize(
    "text, width",
    [("abc", 1), ("\xff", 1), ("\u0100", 2), ("\u4e2d", 2), ("\U0001f600", 4)],
)
@pytest.mark.parametrize("escaped", [True, False])
def test_a_body_counts_for_what_its_texts_take_as_objects(text, width, escaped):
    if escaped and text == "\xff":
        width = 2  # not worth a closer look
    for before in (0, *range(65_512, 65_526)):  # bodies are looked at in pieces
        prompt = "a" * before + text + "a" * (100_000 - before)
        data = json.dumps({"prompt": prompt}, ensure_ascii=escaped).encode()
        size = checked_size(io.BytesIO(data), len(data))
        assert width * len(data) <= size <= width * len(data) + 2000
