"""Ollama's API over HTTP: lines, counts, tools, thinking, listings, errors."""

from __future__ import annotations

import json
import math
import shutil
import struct
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlxk_testing.tiny_models import in_hub_cache, random_model, scripted_model
from tests.apis.conftest import is_nested
from tests.server_process import own_home

TALKER = "The keeper said: «ça va, 你好» 🌊 and left."
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SAYS = {"role": "user", "content": "Hi"}


def chat(api, model="tiny/talker", **fields):
    return api.post("/api/chat", {"model": model, "messages": [SAYS], **fields})


def joined(lines, field):
    return "".join(line["message"].get(field, "") for line in lines)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("tiny/talker", {}),
        ("tiny/talker:latest", {"options": {"num_predict": 4}}),
        ("tiny/talker", {"options": {"stop": ["said"], "num_ctx": 2048}}),
        ("tiny/thinker", {"think": True}),
        ("tiny/thinker", {"think": False}),
        ("tiny/caller", {"tools": [WEATHER]}),
    ],
)
def test_a_stream_of_lines_holds_what_is_returned_whole(api, model, fields):
    whole = chat(api, model, stream=False, **fields).json
    reply = chat(api, model, **fields)
    lines = reply.lines
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert joined(lines, "content") == whole["message"]["content"]
    assert joined(lines, "thinking") == whole["message"].get("thinking", "")
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert calls == whole["message"].get("tool_calls", [])
    for name in ("done_reason", "eval_count", "prompt_eval_count"):
        assert lines[-1][name] == whole[name]
    assert whole["total_duration"] >= whole["eval_duration"] >= 0


def test_reasoning_and_calls_are_fields_of_the_message(api):
    thought = chat(api, "tiny/thinker", stream=False).json["message"]
    assert (thought["thinking"], thought["content"]) == ("Two and two.", "Four.")
    [call] = chat(api, "tiny/caller", stream=False, tools=[WEATHER]).json["message"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": {"city": "Oslo"}}


def test_the_result_of_a_call_goes_back(api):
    message = chat(api, "tiny/caller", stream=False, tools=[WEATHER]).json["message"]
    turns = [SAYS, message, {"role": "tool", "content": "rain", "tool_name": "get_weather"}]
    assert chat(api, "tiny/caller", messages=turns, tools=[WEATHER]).status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_arguments_that_are_nested_deeply_are_kept(api, stream):
    reply = chat(api, "tiny/nester", stream=stream, tools=[WEATHER])
    [call] = [call for line in reply.lines for call in line["message"].get("tool_calls", ())]
    assert is_nested(call["function"]["arguments"])


def test_a_prompt_is_answered_or_continued(api):
    body = {"model": "tiny/talker", "prompt": "Hi", "stream": False}
    answered = api.post("/api/generate", body).json
    raw = api.post("/api/generate", {**body, "raw": True}).json
    assert answered["response"] == TALKER
    assert raw["prompt_eval_count"] < answered["prompt_eval_count"]
    streamed = api.post("/api/generate", {**body, "stream": True}).lines
    assert "".join(line["response"] for line in streamed) == TALKER


@pytest.mark.parametrize(("path", "part"), [("/api/chat", "message"), ("/api/generate", "response")])
def test_without_a_prompt_the_model_is_loaded(api, path, part):
    document = api.post(path, {"model": "tiny/talker"}).json
    assert (document["done_reason"], document["done"]) == ("load", True)
    assert part in document
    assert "tiny/talker" in {model["name"] for model in api.get("/api/ps").json["models"]}


def test_models_are_listed_and_described(api):
    models = {model["name"]: model for model in api.get("/api/tags").json["models"]}
    assert {"tiny/talker", "tiny/thinker", "tiny/caller"} <= set(models)
    assert models["tiny/talker"]["size"] > 0
    shown = api.post("/api/show", {"model": "tiny/thinker"}).json
    assert {"completion", "thinking"} <= set(shown["capabilities"])
    assert shown["model_info"][f"{shown['details']['family']}.context_length"] > 0
    assert api.get("/api/version").json["version"]


def packed(folder):
    """Its config has a quantization with a long name, and one of its files twenty thousand tensors without bytes."""
    settings = {"bits": 4, "group_size": 64, "x": {"mode": "A" * 100_000}}
    random_model(folder, config={"quantization": settings})
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"tensor{number}": empty for number in range(20_000)}).encode()
    (folder / "model-empty.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_files_of_a_model_that_is_shown_are_not_read_again(api, api_server):
    def bytes_read():
        counts = Path(f"/proc/{api_server.popen.pid}/io").read_text()
        return int(counts.partition("rchar: ")[2].split()[0])

    names = [f"tiny/packed{number}" for number in range(6)]
    with own_home(api_server.folder):
        folders = [in_hub_cache(name, packed).parents[1] for name in names]
    for name in names:
        assert len(api.post("/api/show", {"model": name}).json["details"]["quantization_level"]) < 1000
    before = bytes_read()
    for name in names:
        assert api.post("/api/show", {"model": name}).status == 200
    assert bytes_read() - before < 6_000_000  # the headers have a megabyte and a half each
    for folder in folders:
        shutil.rmtree(folder)


@pytest.mark.parametrize("model", ["tiny/talker", "tiny/thinker"])
def test_tools_are_a_capability_of_every_model_that_chats(api, model):
    assert "tools" in api.post("/api/show", {"model": model}).json["capabilities"]
    assert "tools" not in api.post("/api/show", {"model": "tiny/embeds-last"}).json["capabilities"]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_log_probabilities_are_those_of_the_other_api(api, path):
    fields = {"logprobs": True, "top_logprobs": 2}
    ask = {"model": "tiny/random", "messages": [SAYS]}
    expected = api.post("/v1/chat/completions", {**ask, **fields, "max_tokens": 8, "temperature": 0}).json
    expected = [(t["token"], t["bytes"], t["logprob"]) for t in expected["choices"][0]["logprobs"]["content"]]
    body = {**ask, **fields, "options": {"num_predict": 8, "temperature": 0}}
    if path == "/api/generate":
        body = {**body, "prompt": body.pop("messages")[0]["content"]}
    whole = api.post(path, {**body, "stream": False}).json["logprobs"]
    streamed = [token for line in api.post(path, body).lines for token in line.get("logprobs", ())]
    for tokens in (whole, streamed):
        assert [(t["token"], t["bytes"]) for t in tokens] == [each[:2] for each in expected]
        assert [t["logprob"] for t in tokens] == pytest.approx([each[2] for each in expected], abs=1e-4)
        assert all(len(t["top_logprobs"]) == 2 for t in tokens)
    assert "logprobs" not in api.post(path, {**body, "logprobs": None, "top_logprobs": None, "stream": False}).json


def test_a_suffix_is_filled_in_as_by_the_other_api(api):
    body = {"model": "tiny/infill", "prompt": "def f(x):", "suffix": "return x"}
    expected = api.post("/v1/completions", {**body, "max_tokens": 20, "temperature": 0}).json
    found = api.post("/api/generate", {**body, "stream": False, "options": {"num_predict": 20, "temperature": 0}}).json
    assert found["response"] == expected["choices"][0]["text"]
    assert found["prompt_eval_count"] == expected["usage"]["prompt_tokens"]


def test_root_answers_the_heartbeat_of_the_ollama_command(api):
    assert api.get("/").status == 200


def loaded(api):
    return {model["name"]: model for model in api.get("/api/ps").json["models"]}


def seconds_left(model):
    return (datetime.fromisoformat(model["expires_at"]) - datetime.now(UTC)).total_seconds()


def until(condition):
    """Wait until `condition()` is true: the end of a request reaches the engine thread a moment after its response."""
    end = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_keep_alive_decides_how_long_a_model_stays_loaded(api):
    chat(api, keep_alive="1h30m", stream=False)
    assert 5300 < seconds_left(loaded(api)["tiny/talker"]) <= 5400
    chat(api, keep_alive=-1, stream=False)
    assert seconds_left(loaded(api)["tiny/talker"]) > 1e9
    chat(api, keep_alive=0, stream=False)
    until(lambda: "tiny/talker" not in loaded(api))
    assert chat(api, keep_alive="soon").status == 400


def test_a_keep_alive_of_any_size_leaves_the_engine_running(api):
    for seconds in (10**15, 1e300):
        chat(api, keep_alive=seconds, stream=False)
        assert chat(api, stream=False).status == 200


@pytest.mark.parametrize(("path", "fields"), [("/api/chat", {"messages": []}), ("/api/generate", {"prompt": ""})])
def test_without_a_prompt_keep_alive_loads_or_unloads(api, path, fields):
    document = api.post(path, {"model": "tiny/talker", "keep_alive": "5m", "stream": False, **fields}).json
    assert document["done_reason"] == "load"
    until(lambda: 290 < seconds_left(loaded(api)["tiny/talker"]) <= 300)
    document = api.post(path, {"model": "tiny/talker", "keep_alive": 0, "stream": False, **fields}).json
    assert document["done_reason"] == "unload"
    assert "tiny/talker" not in loaded(api)


def test_a_deleted_model_is_unloaded_by_its_name(api, api_server):
    with own_home(api_server.folder):
        in_hub_cache("tiny/deleted", lambda folder: scripted_model(folder, "Hi."))
    fields = {"model": "tiny/deleted", "stream": False}
    until(lambda: api.post("/api/generate", fields).status == 200)
    shutil.rmtree(api_server.folder / "hub" / "models--tiny--deleted")
    answer = api.post("/api/generate", {**fields, "keep_alive": 0})
    assert answer.json["done_reason"] == "unload"
    until(lambda: "tiny/deleted" not in loaded(api))


def test_texts_are_embedded_as_by_the_other_api(api, embedder):
    name, _ = embedder("last")
    expected = [
        entry["embedding"] for entry in api.post("/v1/embeddings", {"model": name, "input": ["Hi", "you"]}).json["data"]
    ]
    reply = api.post("/api/embed", {"model": name, "input": ["Hi", "you"], "keep_alive": "1m"}).json
    assert reply["embeddings"] == expected
    assert reply["prompt_eval_count"] == 5
    assert reply["total_duration"] > reply["load_duration"] >= 0
    alone = api.post("/api/embeddings", {"model": name, "prompt": "Hi"}).json["embedding"]
    assert alone == pytest.approx(expected[0], abs=1e-5)  # rounded in another way than two at once
    assert api.post("/api/embed", {"model": name}).json["embeddings"] == []
    until(lambda: seconds_left(loaded(api)[name]) <= 60)
    short = api.post("/api/embed", {"model": name, "input": "Hi", "dimensions": 4}).json["embeddings"][0]
    assert math.isclose(sum(x * x for x in short), 1, abs_tol=1e-4)
    assert api.post("/api/show", {"model": name}).json["capabilities"] == ["embedding"]


def test_long_texts_are_cut_unless_that_is_turned_off(api, embedder):
    name, _ = embedder("last")
    body = {"model": name, "input": "x" * 5000}
    assert api.post("/api/embed", body).json["prompt_eval_count"] == 512
    assert api.post("/api/embed", {**body, "truncate": False}).status == 400


def test_models_are_not_downloaded_unless_the_server_allows_it(api):
    reply = api.post("/api/pull", {"model": "acme/model"})
    assert reply.status == 403
    assert "--allow-pull" in reply.json["error"]


@pytest.mark.parametrize(
    ("path", "fields", "named"),
    [
        ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": ["abc"]}]}, "messages[0].images"),
        ("/api/chat", {"messages": [{"role": "robot"}]}, "messages[0].role"),
        ("/api/chat", {"messages": [SAYS], "format": "yaml"}, "format"),
        ("/api/chat", {"messages": [SAYS], "options": {"mirostat": 1}}, "options.mirostat"),
        ("/api/chat", {"messages": [SAYS], "options": {"temperature": "hot"}}, "options.temperature"),
        ("/api/chat", {"messages": [SAYS], "options": {"repeat_last_n": 33}}, "options.repeat_last_n"),
        ("/api/chat", {"messages": [SAYS], "options": {"typical_p": 0.7}}, "options.typical_p"),
        ("/api/generate", {"prompt": "x", "options": {"tfs_z": 0.5}}, "options.tfs_z"),
        ("/api/generate", {"prompt": "x", "options": {"penalize_newline": False}}, "options.penalize_newline"),
        ("/api/generate", {"prompt": "x", "options": {"rope_frequency_base": 1.1}}, "options.rope_frequency_base"),
        ("/api/generate", {"prompt": "x", "suffix": "y"}, "suffix"),
        ("/api/generate", {"prompt": "x", "template": "y"}, "template"),
        ("/api/generate", {"prompt": "x", "context": [1]}, "/api/chat"),
        ("/api/chat", {"messages": [SAYS], "top_logprobs": 2}, "top_logprobs"),
        ("/api/show", {"model": None}, "model"),
        ("/api/embed", {"input": [1]}, "input[0]"),
        ("/api/embed", {"input": "x"}, "tiny/talker"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_done_is_an_error_in_ollamas_shape(api, path, fields, named):
    reply = api.post(path, {"model": "tiny/talker", **fields})
    assert reply.status == 400
    assert named in reply.json["error"]


def test_a_missing_model_is_a_404(api):
    reply = chat(api, "acme/missing")
    assert reply.status == 404
    assert "acme/missing" in reply.json["error"]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_options_that_ask_for_nothing_are_accepted(api, path):
    options = {
        "typical_p": 1.0, "tfs_z": 1, "penalize_newline": True, "mirostat": 0, "mirostat_tau": 5.0, "repeat_last_n": 64,
        "rope_frequency_base": 0.0, "vocab_only": False, "num_ctx": 4096, "num_keep": 5, "use_mmap": None,
        "logits_all": None,
    }  # fmt: skip
    body = {"model": "tiny/talker", "prompt": "Hi", "messages": [SAYS], "stream": False, "options": options}
    del body["prompt" if path == "/api/chat" else "messages"]
    reply = api.post(path, body)
    assert reply.status == 200, reply.body
    assert "x-ignored-fields" not in reply.headers


def test_a_repetition_window_of_nothing_turns_the_penalty_off(api):
    def answer(**options):
        options = {"temperature": 0, "num_predict": 24, **options}
        return chat(api, "tiny/random", stream=False, options=options).json["message"]["content"]

    assert answer(repeat_penalty=10, repeat_last_n=0) == answer(repeat_penalty=1)
    assert answer(repeat_penalty=10, repeat_last_n=64) == answer(repeat_penalty=10) != answer(repeat_penalty=1)
