"""Values that real clients send: harmless ones are accepted, meaningful ones act, everything else is an error."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest

from tests.serve.conftest import until

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
HINTS = {
    "store": True, "metadata": {"a": "b"}, "service_tier": "flex", "verbosity": "low", "web_search_options": {},
    "prompt_cache_key": "x", "safety_identifier": "x", "prompt_cache_retention": "24h", "user": "me", "priority": 1,
}  # fmt: skip


def test_hints_that_change_nothing_are_accepted(client):
    assert client.chat(**HINTS).text == "Hello, world."


def test_a_compressed_body_is_a_415_that_names_its_encoding(client):
    body = gzip.compress(json.dumps(client.chat_body()).encode())
    answer = client.post(CHAT, body, content_encoding="gzip")
    assert answer.status == 415
    assert "gzip" in answer.error["message"]
    assert client.post(CHAT, client.chat_body(), content_encoding="identity").status == 200


def test_top_p_of_zero_is_the_likeliest_token(client, engine):
    assert client.chat(top_p=0).status == 200
    [row] = engine.script.happened("add")[-1:]
    assert row


def test_a_completion_of_no_tokens_is_an_error(client):
    answer = client.post(TEXT, {"model": "fake", "prompt": "Hi", "max_tokens": 0})
    assert (answer.status, answer.error["param"]) == (400, "max_tokens")


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_minus_one_means_no_limit(client, engine, field):
    engine.script.answer = lambda prompt: "x" * 3000
    answer = client.chat(**{field: -1})
    assert (len(answer.text), answer.json["choices"][0]["finish_reason"]) == (3000, "stop")


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/livez", "/metrics", "/openapi.json", "/v1/status"])
def test_head_is_answered_wherever_get_is(client, path):
    answer = client.request("HEAD", path)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "hint"), [("/chat/completions", "/v1/chat/completions"), ("/v1/v1/models", "doubled")]
)
def test_a_missing_or_doubled_version_in_the_url_gets_a_hint(client, path, hint):
    answer = client.post(path, {})
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    assert hint in answer.error["message"]


def test_a_request_without_a_model_means_the_one_that_is_loaded(client, kit):
    kit.cached_fake("other")
    body = client.chat_body()
    del body["model"]
    assert client.post(CHAT, body).error["param"] == "model"
    client.chat()
    answer = client.post(CHAT, body)
    assert (answer.status, answer.json["model"]) == (200, "fake")


def test_whole_numbers_with_a_point_are_whole_numbers_in_lists_too(client):
    answer = client.post(TEXT, {"model": "fake", "prompt": [72.0, 105.0], "max_tokens": 4.0})
    assert answer.status == 200
    assert answer.json["usage"]["prompt_tokens"] == 2
    assert client.post(TEXT, {"model": "fake", "prompt": [72.5]}).status == 400


def test_calls_without_ids_and_with_object_arguments_are_accepted(client, engine):
    call = {"type": "function", "function": {"name": "f", "arguments": {"city": "Oslo"}}}
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call, call]},
        {"role": "tool", "content": "12"},
        {"role": "tool", "content": "13"},
    ]
    assert client.post(CHAT, {"model": "fake", "messages": messages}).status == 200


def test_empty_stop_strings_stop_nothing_and_huge_ones_are_an_error(client):
    assert client.chat(stop=[""]).text == "Hello, world."
    assert client.chat(stop=["", "world"]).text == "Hello, "
    assert client.chat(stop=["x" * 5000]).error["param"].startswith("stop")


def test_more_than_128_tools_are_accepted(client):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    assert client.chat(tools=[tool] * 200, tool_choice="none").status == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"enable_thinking": False}, {"think": False}, {"think": "low"}, {"thinking": {"type": "disabled"}},
        {"thinking": {"type": "adaptive"}}, {"reasoning": {"effort": "low"}}, {"reasoning_effort": "none"},
    ],
)  # fmt: skip
def test_switches_of_reasoning_reach_the_template(client, fields):
    assert client.chat(**fields).status == 200


def test_a_wrong_switch_of_reasoning_is_an_error(client):
    assert client.chat(thinking={"type": "sometimes"}).error["param"] == "thinking.type"
    assert client.chat(enable_thinking="yes").error["param"] == "enable_thinking"


def test_stop_tokens_of_a_request_end_it_and_ignore_eos_ignores_the_models(client):
    assert client.chat(stop_token_ids=[ord(",")]).text == "Hello"
    answer = client.chat(ignore_eos=True, max_tokens=40)
    assert answer.json["choices"][0]["finish_reason"] == "length"
    assert answer.json["usage"]["completion_tokens"] == 40


def test_keep_alive_unloads_the_model_after_its_time(client, kit):
    assert client.chat(keep_alive="50ms").status == 200
    kit.until(lambda: client.status()["models"] == [])
    assert client.chat(ttl=-1).status == 200
    assert [model["name"] for model in client.status()["models"]] == ["fake"]
    assert client.chat(keep_alive="1h30m").status == 200
    assert client.chat(keep_alive="soon").error["param"] == "keep_alive"


def test_an_alias_serves_a_model_under_other_names(serve, engine):
    client = serve(aliases=(("gpt-*", "fake"),)).client
    answer = client.chat(model="gpt-5")
    assert (answer.status, answer.json["model"]) == (200, "gpt-5")
    assert client.chat(model="claude").status == 404


def test_a_model_is_found_without_its_owner(serve, engine, kit):
    kit.cached_fake("acme/unique")
    client = serve().client
    assert client.chat(model="unique").status == 200


def test_vllms_name_of_the_context_length_is_listed(client):
    [model] = client.get("/v1/models").json["data"]
    assert model["max_model_len"] == model["context_length"] == 4096


@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize("last", [True, False, None])
def test_continuous_usage_counts_every_token(client, path, last):
    body = client.chat_body() if path == CHAT else {"model": "fake", "prompt": "Hi", "max_tokens": 100}
    options = {"include_usage": last, "continuous_usage_stats": True}
    with client.stream({**body, "stream_options": options}, path) as events:
        chunks = [event for event in events if event != "[DONE]"]
    assert [bool(chunk["choices"]) for chunk in chunks].count(False) == bool(last)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk["choices"] and chunk["usage"]]
    assert counts == sorted(counts)
    assert counts[-1] == len("Hello, world.") + 1
    assert len(set(counts)) > 5


def test_tokens_of_a_text_and_a_chat_and_back(client):
    answer = client.post("/tokenize", {"model": "fake", "prompt": "Hi", "return_token_strs": True})
    assert answer.json == {"count": 2, "max_model_len": 4096, "tokens": [72, 105], "token_strs": ["H", "i"]}
    assert client.post("/detokenize", {"model": "fake", "tokens": [72, 105]}).json == {"prompt": "Hi"}
    chat = client.chat_body()
    rendered = client.post("/apply-template", chat).json["prompt"]
    assert rendered == "<user>Hi\n<assistant>"
    count = client.post("/tokenize", chat).json["count"]
    assert count == len(rendered) == client.chat().json["usage"]["prompt_tokens"]
    assert client.post("/detokenize", {"tokens": [2_000_000]}).error["param"] == "tokens[0]"
    assert client.post("/tokenize", {"model": "fake"}).error["param"] == "prompt"
    for path in ("/tokenize", "/apply-template"):
        own = client.post(path, {**chat, "chat_template_kwargs": {"messages": []}})
        assert (own.status, own.error["param"]) == (400, "chat_template_kwargs.messages")


def test_a_model_is_loaded_and_unloaded_on_request(client, engine, kit):
    assert client.post("/v1/models/load", {"model": "fake"}).json == {"model": "fake", "status": "loaded"}
    assert engine.script.happened("load") == ["fake"]
    engine.script.hang.set()
    sock = client.begin_chat(stream=True)
    kit.until(lambda: client.status()["active"] == 1)
    engine.script.hang.clear()
    sock.close()
    kit.until(lambda: client.status()["responses"] == 0)
    assert client.post("/v1/models/unload", {"model": "fake"}).json == {"model": "fake", "status": "unloaded"}
    assert client.status()["models"] == []
    assert client.post("/v1/models/load", {"model": "nobody/none"}).status == 404
    assert client.post("/v1/models/load", {}).error["param"] == "model"


def test_a_deleted_model_can_be_unloaded_and_is_unloaded_once_it_is_noticed(client, engine, hub_cache):
    for notice in (lambda: client.post("/v1/models/unload", {"model": "fake"}), lambda: client.get("/v1/models")):
        assert client.post("/v1/models/load", {"model": "fake"}).status == 200
        (hub_cache / "models--fake").rename(hub_cache / "deleted")
        assert notice().status == 200
        until(lambda: not client.status()["models"])
        (hub_cache / "deleted").rename(hub_cache / "models--fake")
    (hub_cache / "models--fake").rename(hub_cache / "deleted")
    until(lambda: client.post("/v1/models/unload", {"model": "fake"}).status == 404)


def test_a_model_that_was_replaced_by_another_revision_is_unloaded(client, engine, hub_cache):
    refs, snapshots = hub_cache / "models--fake" / "refs", hub_cache / "models--fake" / "snapshots"
    client.chat()
    first = (refs / "main").read_text()
    shutil.copytree(snapshots / first, snapshots / ("b" * 40))
    (refs / "main").write_text("b" * 40)
    until(lambda: client.chat().status == 200 and revisions(client) == {"b" * 40})
    client.post("/v1/models/load", {"model": f"fake@{first}"})
    assert revisions(client) == {first, "b" * 40}
    assert client.post("/v1/models/unload", {"model": f"fake@{first}"}).status == 200
    assert revisions(client) == {"b" * 40}
    client.post("/v1/models/load", {"model": f"fake@{first}"})
    assert client.post("/v1/models/unload", {"model": "fake"}).status == 200  # all that is listed under the name
    assert revisions(client) == set()


def revisions(client):
    return {model["revision"] for model in client.status()["models"]}


@pytest.mark.parametrize("option", [{"effort": "low"}, {"exclude": True}])
def test_a_text_has_no_reasoning_to_change(client, option):
    answer = client.post(TEXT, {"model": "fake", "prompt": "Hi", "reasoning": option})
    assert (answer.status, answer.error["param"]) == (400, f"reasoning.{next(iter(option))}")
