"""Formats that hold much text back and decide about it at its end: what they hold up is their own response."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlxk_core.api import hookimpl
from mlxk_core.api.formats import Evidence, Strength
from mlxk_core.api.generation import Channel, Delta
from mlxk_core.api.hooks import ReasoningExtractorSpec
from mlxk_testing.fake_engine import FakeBackend, Script

PATIENCE = 180
ANSWER = "x" * 20_000


class Hoard:
    """A format that holds all text back, and waits at its end until `opened` is set."""

    channel = Channel.CONTENT

    def __init__(self, entered, opened):
        self._text, self._entered, self._opened = "", entered, opened

    def feed(self, text, /):
        self._text += text
        return ()

    def close(self):
        self._entered.release()
        assert self._opened.wait(PATIENCE)
        yield Delta(Channel.CONTENT, self._text)


class Plod:
    """A format that takes ten milliseconds for each character until `opened` is set."""

    channel = Channel.CONTENT

    def __init__(self, entered, opened):
        self._entered, self._opened = entered, opened

    def feed(self, text, /):
        self._entered.release()
        if text:
            self._opened.wait(0.01)
            yield Delta(Channel.CONTENT, text)

    def close(self):
        return ()


class Hoarding:
    """The formats and models `hoard` and `plod`."""

    def __init__(self):
        self.entered, self.opened = threading.Semaphore(0), threading.Event()

    @hookimpl
    def mlxk_reasoning_extractors(self):
        for name, form in (("hoard", Hoard), ("plod", Plod)):
            yield ReasoningExtractorSpec(
                name=name,
                summary="It is slow.",
                matches=lambda model, name=name: (
                    Evidence(Strength.TEMPLATE, "its name") if model.name == name else None
                ),
                target=lambda context, form=form: form(self.entered, self.opened),
            )


@pytest.fixture
def hoarding(host, engine, kit):
    backend = FakeBackend(Script(answer=lambda prompt: ANSWER), "hoard", {})
    host.register(backend, name="hoard")
    for name in ("hoard", "plod"):
        kit.cached_fake(name, kind="hoard", context=1 << 16)
    plugin = Hoarding()
    host.register(plugin, name="hoarding")
    yield plugin
    plugin.opened.set()


@pytest.mark.parametrize("fields", [{}, {"n": 2}], ids=str)
def test_other_streams_go_on_while_a_format_decides_about_much_text(serve, engine, hoarding, fields):
    client = serve().client
    with client.chat_stream(model="hoard", max_tokens=-1, **fields) as held:
        assert hoarding.entered.acquire(timeout=PATIENCE)
        expected = engine.script.answer("")
        chunks = [event for event in client.streamed() if event != "[DONE]"]
        assert "".join(choice["delta"].get("content") or "" for e in chunks for choice in e["choices"]) == expected
        assert client.chat().text == expected
        hoarding.opened.set()
        texts = {}
        for event in held:
            for choice in event["choices"] if event != "[DONE]" else ():
                index = choice["index"]
                texts[index] = texts.get(index, "") + (choice["delta"].get("content") or "")
    assert list(texts.values()) == [ANSWER] * fields.get("n", 1)


def test_an_answer_that_a_format_holds_back_is_whole_without_a_stream(serve, hoarding):
    hoarding.opened.set()
    answer = serve().client.chat(model="hoard", max_tokens=-1).json["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == (ANSWER, "stop")


def test_other_responses_go_on_while_a_format_is_slow_for_each_of_many_tokens(serve, engine, hoarding):
    """The engine has made all of them; without a stream nothing else ends the turn of that response."""
    client = serve().client
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.chat, model="plod", max_tokens=-1)
        assert hoarding.entered.acquire(timeout=PATIENCE)
        assert client.chat().text == engine.script.answer("")
        assert not slow.done()
        hoarding.opened.set()
        assert slow.result(PATIENCE).text == ANSWER
