"""Answers that are being given, and what comes between two steps of giving one."""

from __future__ import annotations

import falcon
import pytest

from mlxk_core._errors import ShuttingDown
from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.service import GenerationService
from mlxk_serve.http.responses import Replies, whole
from mlxk_serve.observability.metrics import Registry
from mlxk_serve.observability.request_log import Access, AccessMetrics
from mlxk_serve.openai.encoders import Head, TextWriter


@pytest.fixture
def access():
    return Access(AccessMetrics(Registry()), "an id", "POST", "/v1/completions")


@pytest.fixture
def submit(host, engine, kit):
    with GenerationService(host) as service:
        model = kit.cached_fake("another")
        yield lambda: [service.submit(GenerationRequest(model=model, prompt="Hi"))]


@pytest.fixture
def writer():
    return TextWriter(Head(id="cmpl-1", model="fake", created=0, fingerprint="fp"))


def test_an_answer_that_is_opened_while_all_are_cut_is_cut_too(access, submit, writer, engine):
    engine.script.answer = lambda prompt: "x" * 4000
    replies = Replies(1, lambda: pytest.fail("there is a place"))

    def submit_late():
        generations = submit()
        replies.cut()
        return generations

    reply = replies.open({}, access, submit_late)
    with pytest.raises(ShuttingDown):
        whole(reply, writer, falcon.Response())
    assert len(replies) == 0
