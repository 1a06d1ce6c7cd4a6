"""Many clients and several models at once."""

from __future__ import annotations

import contextlib
import gc
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

import mlxk_ollama.plugin
from mlxk_core.api import Message
from mlxk_serve.http.generation_response import GenerationResponse
from mlxk_testing.fake_engine import fake_backend


@pytest.fixture
def two(host, engine, kit):
    """A second scripted engine, behind the model `other`."""
    other = fake_backend("I am the other.", kind="other")
    host.register(other, name="other")
    kit.cached_fake("other", kind="other")
    return engine, other


def together(calls):
    """What each call gives, all called at once."""
    results = [None] * len(calls)

    def run(i):
        results[i] = calls[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_concurrent_clients_get_their_own_responses(serve, engine):
    engine.script.answer = lambda prompt: f"You said {prompt}." * 3
    client = serve().client
    answers = together([lambda i=i: client.chat(f"marker-{i}-end") for i in range(16)])
    for i, answer in enumerate(answers):
        others = [f"marker-{j}-end" for j in range(16) if j != i]
        assert f"marker-{i}-end" in answer.text
        assert not any(other in answer.text for other in others)


def test_a_full_queue_is_an_immediate_error_with_retry_after(serve, engine, kit):
    engine.script.answer = lambda prompt: "x" * 2000
    engine.script.step_seconds = 0.02
    client = serve(concurrency=2, queue=3).client
    inside = [client.begin_chat(f"{i}", stream=True) for i in range(5)]
    kit.until(lambda: (status := client.status())["active"] == 2 and status["waiting"] == 3)
    answer = client.chat()
    assert answer.status == 429
    assert (answer.error["type"], answer.error["code"]) == ("rate_limit_error", "queue_full")
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert client.get("/health").status == 200
    inside[0].close()
    kit.until(lambda: client.status()["waiting"] == 2)
    assert client.get("/v1/models").status == 200
    for sock in inside[1:]:
        sock.close()
    kit.until(lambda: client.status()["responses"] == 0)
    engine.script.answer = lambda prompt: "ok"
    assert client.chat().status == 200


def test_all_choices_of_a_request_are_let_in_or_none(serve, engine, kit):
    client = serve(concurrency=2, queue=2).client
    engine.script.hold_load.set()
    inside = client.begin_chat(stream=True)
    kit.until(lambda: client.status()["waiting"] == 1)
    assert client.chat(n=4).status == 429
    assert client.status()["waiting"] == 1
    engine.script.hold_load.clear()
    kit.everything(inside)
    assert client.chat(n=4).status == 200


@pytest.mark.parametrize(
    ("path", "fields", "param", "asked"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "n": 8}, "n", 8),
        ("/v1/completions", {"prompt": "Hi", "n": 4}, "n", 4),
        ("/v1/completions", {"prompt": ["a", "b"], "n": 2}, "prompt", 4),
    ],
)
def test_more_choices_than_there_are_places_are_refused_for_good(serve, engine, path, fields, param, asked):
    client = serve(concurrency=2, queue=1).client
    answer = client.post(path, {"model": "fake", **fields})
    assert (answer.status, answer.error["param"]) == (400, param)
    assert f"{asked} choices" in answer.error["message"]
    assert client.chat(n=3).status == 200


def test_health_and_lists_answer_while_every_place_is_taken(serve, engine, kit, host):
    host.register(mlxk_ollama.plugin, name="ollama")
    engine.script.hang.set()
    client = serve(concurrency=4, queue=8).client
    inside = [client.begin_chat(stream=bool(i % 2)) for i in range(12)]
    kit.until(lambda: client.status()["responses"] == 12)
    for path in ("/health", "/livez", "/metrics", "/v1/models", "/api/tags"):
        assert client.get(path).status == 200
    engine.script.hang.clear()
    for sock in inside:
        sock.close()


def test_two_models_run_at_once_when_there_is_room(serve, two, kit):
    one, other = two
    one.script.answer = other.script.answer = lambda prompt: "x" * 2000
    one.script.step_seconds = other.script.step_seconds = 0.02
    client = serve().client
    with client.chat_stream() as first, client.chat_stream(model="other") as second:
        next(iter(first))
        next(iter(second))
        kit.until(lambda: {m["name"] for m in client.status()["models"] if m["running"]} == {"fake", "other"})
        first.leave()
        second.leave()
    assert one.script.happened("close") == other.script.happened("close") == []


def test_without_room_the_running_request_ends_before_the_other_model_is_loaded(serve, two, kit):
    one, other = two
    one.script.memory = other.script.memory = 1000
    one.script.answer = lambda prompt: "x" * 100
    one.script.step_seconds = 0.005
    client = serve(memory=1500).client
    with client.chat_stream() as events:
        next(iter(events))
        waiting = client.begin_chat(model="other", stream=True)
        rest = list(events)
    assert sum(len(e["choices"][0]["delta"].get("content", "")) for e in rest[:-1]) == 100
    assert b"I am the other" in b"".join(_contents(kit.everything(waiting)))
    assert one.script.happened("close") == ["fake"]
    assert [m["name"] for m in client.status()["models"]] == ["other"]


def _contents(received):
    import json

    for line in received.split(b"\n"):
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])["choices"][0]["delta"].get("content", "").encode()


def test_ten_first_requests_are_one_load(serve, engine):
    engine.script.load_seconds = 0.2
    client = serve().client
    answers = together([lambda: client.chat() for _ in range(10)])
    assert {answer.text for answer in answers} == {"Hello, world."}
    assert engine.script.happened("load") == ["fake"]


def test_a_model_that_fails_to_load_leaves_the_old_one_serving(serve, two):
    one, other = two
    other.script.fail_load = RuntimeError("no luck")
    client = serve().client
    assert client.chat().status == 200
    assert client.chat(model="other").status == 503
    assert client.chat().status == 200
    assert one.script.happened("load") == ["fake"]
    assert client.chat(model="other").status == 200


def test_a_model_too_large_for_the_budget_is_refused_for_good(serve, two):
    _, other = two
    other.script.memory = 5000
    client = serve(memory=2000).client
    assert client.chat().status == 200
    answer = client.chat(model="other")
    assert (answer.status, answer.error["code"]) == (503, "insufficient_memory")
    assert answer.headers["x-should-retry"] == "false"
    assert [m["name"] for m in client.status()["models"]] == ["fake"]


def test_an_idle_model_is_unloaded_and_loaded_again_when_it_is_asked_for(serve, engine, kit):
    client = serve(ttl=0.2).client
    assert client.chat().status == 200
    kit.until(lambda: client.status()["models"] == [])
    kit.until(lambda: engine.script.happened("close") == ["fake"])  # closed after it is off the list
    assert client.chat().status == 200
    assert engine.script.happened("load") == ["fake", "fake"]


def test_models_named_at_start_are_loaded_at_start(serve, two):
    serving = serve(models=("fake", "other"))
    assert serving.server.models == ["fake", "other"]
    assert {m["name"] for m in serving.client.status()["models"]} == {"fake", "other"}


def test_models_named_at_start_that_do_not_fit_together_end_it(serve, two):
    from mlxk_core._errors import InsufficientMemory, ModelNotFound

    one, other = two
    one.script.memory = other.script.memory = 1000
    with pytest.raises(InsufficientMemory, match="fake"):
        serve(models=("fake", "other"), memory=1500)
    with pytest.raises(ModelNotFound):
        serve(models=("nobody/nothing",))


def test_a_model_whose_time_is_up_while_others_are_loaded_does_not_end_the_start(serve, two, kit):
    _, other = two
    other.script.load_seconds = 0.2
    kit.cached_fake("third", kind="other")
    serving = serve(models=("fake", "other", "third"), ttl=0.05)
    assert serving.client.chat().text == "Hello, world."


def test_a_failure_in_the_engine_costs_the_requests_in_it_and_no_others(serve, engine, kit):
    engine.script.answer = lambda prompt: "x" * 2000
    engine.script.step_seconds = 0.02
    client = serve().client
    inside = [client.begin_chat(stream=True) for _ in range(3)]
    kit.until(lambda: client.metric("mlxk_time_to_first_token_seconds_count") == 3)
    engine.script.fail_step = RuntimeError("a fault")
    for sock in inside:
        received = kit.everything(sock)
        assert b'"error"' in received
        assert b"[DONE]" not in received
    assert engine.script.happened("reset")
    assert client.get("/health").status == 200
    engine.script.answer = lambda prompt: "well again"
    assert client.chat().text == "well again"
    assert client.metric("mlxk_engine_failures_total") == 1


def test_health_reports_a_stalled_engine(serve, engine, kit):
    client = serve(limits={"stalled_engine": 0.3}).client
    assert client.get("/health").json["status"] == "ok"
    engine.script.hang.set()
    sock = client.begin_chat()
    kit.until(lambda: client.get("/health").status == 503)
    assert client.get("/health").json["status"] == "engine_stalled"
    assert client.get("/livez").status == 200
    assert client.metric("mlxk_seconds_since_progress") > 0
    engine.script.hang.clear()
    kit.until(lambda: client.get("/health").status == 200)
    sock.close()


def test_health_reports_an_engine_that_has_ended(serve, engine, kit):
    """A backend that changes its model, which the service has as a key, and the idle time it has read."""
    load = engine.load

    def load_and_change(model, context):
        model.__dict__["settings"] = SimpleNamespace(ttl="soon")
        scripted = load(model, context)
        step = scripted.step
        scripted.step = lambda: model.__dict__.update(revision=[]) or step()
        return scripted

    engine.load = load_and_change
    client = serve().client
    client.chat()
    kit.until(lambda: client.get("/health").status == 503)
    assert client.get("/health").json["status"] == "engine_failed"
    assert (client.chat().error["code"], client.get("/livez").status) == ("engine_fault", 200)
    assert client.status()["failed"]


def test_readers_that_hold_an_answer_count_as_inside(serve, engine, kit):
    engine.script.hang.set()
    client = serve(concurrency=1, queue=1).client
    inside = [client.begin_chat(stream=True) for _ in range(2)]
    kit.until(lambda: client.status()["responses"] == 2)
    assert client.chat().status == 429
    engine.script.hang.clear()
    for sock in inside:
        kit.everything(sock)


def test_an_engine_error_is_logged_and_not_sent_to_the_client(serve, engine, caplog):
    engine.script.fail_step = RuntimeError("the words of somebody else")
    with caplog.at_level("INFO"):
        answer = serve().client.chat()
    assert (answer.status, answer.error["code"]) == (503, "engine_fault")
    assert "somebody else" not in answer.error["message"]
    logged = [record for record in caplog.records if "somebody else" in record.getMessage()]
    assert [record.facts["request_id"] for record in logged] == [answer.headers["x-request-id"]]


@pytest.mark.parametrize("ignored", ["x" * (600 << 10), [[[]] * 600, "x" * (4 << 10)]], ids=["bytes", "arrays"])
def test_large_bodies_of_open_requests_share_a_number_of_bytes_and_one_client_has_half(serve, engine, kit, ignored):
    keys = ("first-client-key", "second-client-key")
    client = serve(keys=keys, limits={"open_bodies": 2 << 20, "free_body": 1 << 10}).client
    first, second = (replace(client, headers={"authorization": f"Bearer {key}"}) for key in keys)
    large = {"ignored": ignored}
    engine.script.hang.set()
    try:
        with contextlib.closing(first.begin_chat(**large)):
            kit.until(lambda: first.status()["responses"] == 1)
            rejected = first.chat(**large)
            assert (rejected.status, rejected.error["code"]) == (503, "too_many_bodies")
            assert rejected.headers["retry-after"]
            with contextlib.closing(second.begin_chat(**large)), contextlib.closing(first.begin_chat()):
                kit.until(lambda: first.status()["responses"] == 3)
    finally:
        engine.script.hang.clear()
    kit.until(lambda: first.chat(**large).status != 503)


def test_prompts_that_wait_count_for_the_bytes_of_their_client(serve, engine, kit):
    """A request that continues a stored conversation may have 150 bytes, and its prompt 8 MB."""
    client = serve(limits={"open_bodies": 64 << 10, "free_body": 1 << 10}).client
    engine.script.hang.set()
    try:
        with contextlib.closing(client.begin_chat("x" * 3000)):
            kit.until(lambda: client.status()["responses"] == 1)
            rejected = client.chat("x" * 3000)
            assert (rejected.status, rejected.error["code"]) == (503, "too_many_bodies")
            with contextlib.closing(client.begin_chat()):
                kit.until(lambda: client.status()["responses"] == 2)
    finally:
        engine.script.hang.clear()


@pytest.mark.parametrize("prompts", [1, 2])
def test_token_ids_of_requests_that_wait_are_kept_without_objects(serve, engine, kit, prompts):
    """Each collection of garbage visits all items of a list."""

    def long_lists():
        return sum(type(each) is list and len(each) > 3_000 and type(each[-1]) is int for each in gc.get_objects())

    client = serve(concurrency=1).client
    ids = [104] * 3_500
    before = long_lists()
    engine.script.hang.set()
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                body = {"model": client.model, "prompt": ids if prompts == 1 else [ids] * prompts}
                stack.enter_context(contextlib.closing(client.begin("/v1/completions", body)))
            kit.until(lambda: client.status()["responses"] == 3)
            kit.until(lambda: long_lists() == before)
    finally:
        engine.script.hang.clear()


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_freed_at_its_end_without_a_collection_of_garbage(serve, engine, kit, stream):
    """Such collections take long where many requests wait."""

    def kept():
        return sum(isinstance(each, (GenerationResponse, Message)) for each in gc.get_objects())

    client = serve().client
    gc.collect()
    gc.disable()
    try:
        before = kept()
        for _ in range(3):
            assert client.post("/v1/chat/completions", client.chat_body(stream=stream)).status == 200
        kit.until(lambda: kept() == before)
    finally:
        gc.enable()
