"""Tokenizers that block, in another process or for a long text: what they hold up is their own response."""

from __future__ import annotations

import threading

import pytest

from mlxk_responses import plugin as responses
from mlxk_testing.fake_engine import FakeBackend, FakeDetokenizer, FakeTokenizer, Script
from tests.serve.conftest import until

ANSWER = "Hello, world."


class Detokenizer(FakeDetokenizer):
    blocking = True

    def __init__(self, gate):
        self._gate = gate

    def add(self, token, /):
        self._gate.entered.set()
        assert self._gate.opened.wait(60)
        if self._gate.error is not None:
            raise self._gate.error
        return super().add(token)


class Tokenizer(FakeTokenizer):
    def __init__(self, gate):
        self._gate = gate

    def encode(self, text, *, add_special_tokens):
        if len(text) > 1 << 16:
            self._gate.encoding.release()
            assert self._gate.opened.wait(60)
        return super().encode(text, add_special_tokens=add_special_tokens)

    def decode(self, tokens, /):
        self._gate.decoded += len(tokens)
        self._gate.opened.wait(0.02)
        return super().decode(tokens)

    def detokenizer(self):
        return Detokenizer(self._gate)


class Gate(FakeBackend):
    """A backend whose detokenizers wait until `opened` is set."""

    def __init__(self):
        super().__init__(Script(answer=lambda prompt: ANSWER), "gate", {})
        self.entered, self.opened = threading.Event(), threading.Event()
        self.encoding, self.decoded = threading.Semaphore(0), 0
        self.error = None

    def load(self, model, context):
        engine = super().load(model, context)
        engine.tokenizer = Tokenizer(self)
        return engine


@pytest.fixture
def gate(host, engine, kit):
    gate = Gate()
    host.register(gate, name="gate")
    kit.cached_fake("gate", kind="gate", context=1 << 19)
    yield gate
    gate.opened.set()


def text(events):
    chunks = [event for event in events if event != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def test_other_streams_go_on_while_a_detokenizer_waits(client, gate, engine):
    with client.chat_stream(model="gate") as held:
        assert gate.entered.wait(60)
        assert text(client.streamed()) == engine.script.answer("")
        assert client.chat().status == 200
        gate.opened.set()
        assert text(held) == ANSWER


@pytest.mark.parametrize("fields", [{}, {"n": 3}, {"max_tokens": 1}, {"logprobs": True}], ids=str)
def test_a_blocking_detokenizer_gives_whole_answers(client, gate, fields):
    gate.opened.set()
    answer = client.chat(model="gate", **fields).json
    expected = ANSWER[: fields.get("max_tokens")]
    assert [choice["message"]["content"] for choice in answer["choices"]] == [expected] * fields.get("n", 1)
    streamed = client.streamed(model="gate", **fields)
    for index in range(fields.get("n", 1)):
        choices = [choice for event in streamed[:-1] for choice in event["choices"] if choice["index"] == index]
        assert text([{"choices": choices}]) == expected


def test_a_client_that_leaves_frees_its_place_when_the_detokenizer_returns(client, gate, kit):
    sock = client.begin_chat(model="gate", stream=True)
    assert gate.entered.wait(60)
    sock.close()
    kit.until(lambda: client.status()["responses"] == 0)
    gate.opened.set()
    assert client.chat(model="gate").text == ANSWER


def test_an_error_of_a_blocking_detokenizer_ends_its_stream(client, gate):
    gate.error = RuntimeError("the process is gone")
    gate.opened.set()
    *_, last = client.streamed(model="gate")
    assert last["error"]["type"] == "server_error"


def test_small_requests_do_not_wait_for_large_texts(client, gate):
    large = {"model": "gate", "prompt": "x" * 100_000, "return_token_strs": True}
    socks = [client.begin("/tokenize", large) for _ in range(4)]
    for _ in range(2):  # as many as there may be at once
        assert gate.encoding.acquire(timeout=60)
    small = client.post("/tokenize", {"model": "gate", "prompt": "Hi", "return_token_strs": True})
    assert small.json["token_strs"] == ["H", "i"]
    assert client.post("/detokenize", {"model": "gate", "tokens": [72]}).json == {"prompt": "H"}
    gate.opened.set()
    for sock in socks:
        sock.close()


def test_large_prompts_of_background_responses_are_prepared_by_turns_of_the_clients(host, serve, gate):
    host.register(responses, name="responses")
    client = serve().client
    body = {"model": "gate", "input": "x" * 300_000, "background": True, "max_output_tokens": 1}
    ids = [client.post("/v1/responses", body).json["id"] for _ in range(3)]
    assert gate.encoding.acquire(timeout=60)
    assert not gate.encoding.acquire(timeout=1)  # one at a time
    gate.opened.set()
    for id in ids:
        until(lambda id=id: client.get(f"/v1/responses/{id}").json["status"] == "incomplete")


def test_each_token_that_occurs_is_decoded_once(client, gate):
    gate.opened.set()
    large = {"model": "gate", "prompt": "xyz" * 30_000, "return_token_strs": True}
    answer = client.post("/tokenize", large).json
    assert answer["count"] == 90_000
    assert answer["tokens"] == [120, 121, 122] * 30_000
    assert answer["token_strs"] == ["x", "y", "z"] * 30_000
    assert gate.decoded == 3


def test_texts_of_tokens_are_no_longer_decoded_when_the_client_has_left(client, gate):
    distinct = "".join(map(chr, range(1000, 51_000)))
    sock = client.begin("/tokenize", {"model": "gate", "prompt": distinct, "return_token_strs": True})
    until(lambda: gate.decoded)
    sock.close()
    until(lambda: client.status()["responses"] == 0)
    assert gate.decoded < len(distinct)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"prompt": "Hi"}),
        ("/tokenize", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/detokenize", {"tokens": [72]}),
        ("/apply-template", {"messages": [{"role": "user", "content": "Hi"}]}),
    ],
)
def test_text_of_a_loaded_model_does_not_wait_for_a_step(client, engine, path, body):
    assert client.chat().status == 200
    engine.script.hang.set()
    with client.begin_chat():
        until(lambda: client.status()["active"] == 1)  # a step follows, without looking at commands in between
        assert client.post(path, {"model": "fake", **body}).status == 200
        assert client.status()["active"] == 1
        engine.script.hang.clear()
