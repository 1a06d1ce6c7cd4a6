"""`/v1/chat/completions` as a client of OpenAI's knows it."""

from __future__ import annotations

import pytest


def test_an_answer_has_every_key_the_contract_asks_for(client):
    answer = client.chat()
    assert answer.status == 200
    body = answer.json
    assert body["object"] == "chat.completion"
    assert body["id"].startswith("chatcmpl-")
    assert isinstance(body["created"], int)
    assert body["model"] == "fake"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello, world.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert set(body["usage"]) == {
        "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details",
    }  # fmt: skip
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert "server" not in answer.headers


def test_a_connection_is_used_again(client, kit):
    connection = client.connect()
    for _ in range(3):
        connection.request("POST", "/v1/chat/completions", _json(client.chat_body()))
        sock = connection.sock
        assert kit.read(connection).status == 200
        assert connection.sock is sock
    connection.close()


def test_a_stream_has_a_role_first_and_a_reason_last(client):
    events = client.streamed()
    assert events[-1] == "[DONE]"
    chunks = events[:-1]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert all("usage" not in chunk for chunk in chunks)


def test_the_headers_of_a_stream_keep_proxies_from_holding_it_back(client):
    with client.chat_stream() as events:
        assert events.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert events.headers["cache-control"] == "no-cache"
        assert events.headers["x-accel-buffering"] == "no"
        assert events.headers["x-request-id"]
        list(events)


def test_usage_is_streamed_once_when_asked_for(client):
    *chunks, last, done = client.streamed(stream_options={"include_usage": True})
    assert done == "[DONE]"
    assert last["choices"] == []
    assert last["usage"] == client.chat().json["usage"]
    assert all(chunk["usage"] is None for chunk in chunks)


@pytest.mark.parametrize("options", [{"include_usage": False}, {"include_usage": None}, {}, None])
def test_usage_is_not_streamed_otherwise(client, options):
    assert all("usage" not in chunk for chunk in client.streamed(stream_options=options)[:-1])


@pytest.mark.parametrize(
    "said",
    ["plain", "äöü ß", "日本語のテキスト", "👩‍👩‍👧‍👦 family", 'line\nbreak\ttab "quoted" \\', "\u2028 x"],
)
def test_a_stream_joins_to_the_same_answer(client, engine, said):
    engine.script.answer = lambda prompt: said
    streamed = client.streamed(stream_options={"include_usage": True})
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in streamed[:-2])
    whole = client.chat().json
    assert text == whole["choices"][0]["message"]["content"] == said
    assert streamed[-2]["usage"] == whole["usage"]
    assert streamed[-3]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]


def test_tokens_come_one_by_one(serve, engine):
    engine.script.answer = lambda prompt: "x" * 50
    engine.script.step_seconds = 0.005
    events = serve().client.streamed()
    assert len([e for e in events[:-1] if e["choices"][0]["delta"].get("content")]) == 50


def test_a_stop_string_ends_the_answer_before_it(client, engine):
    engine.script.answer = lambda prompt: "one END two"
    for stop in ("END", ["END"], ["never", "END", "two"]):
        answer = client.chat(stop=stop).json["choices"][0]
        assert (answer["message"]["content"], answer["finish_reason"]) == ("one ", "stop")
    streamed = client.streamed(stop="END")
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in streamed[:-1]) == "one "


@pytest.mark.parametrize("stop", [[], "", None])
def test_empty_stop_strings_stop_nothing(client, stop):
    assert client.chat(stop=stop).text == "Hello, world."


def test_max_tokens_ends_the_answer(client):
    answer = client.chat(max_tokens=1).json
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 1
    assert client.chat(max_tokens=9, max_completion_tokens=2).json["usage"]["completion_tokens"] == 2
    assert client.chat(max_tokens=3.0).json["usage"]["completion_tokens"] == 3


def test_without_a_number_an_answer_has_half_of_the_context(serve, engine, kit):
    engine.script.answer = lambda prompt: "x" * 10_000
    kit.cached_fake("small", context=100)
    client = serve().client
    client.model = "small"
    assert client.chat().json["usage"]["completion_tokens"] == 50
    assert client.chat(max_tokens=None, max_completion_tokens=None).json["usage"]["completion_tokens"] == 50


def test_the_servers_own_max_tokens_comes_before_half_of_the_context(serve, engine):
    engine.script.answer = lambda prompt: "x" * 10_000
    client = serve(max_tokens=7).client
    assert client.chat().json["usage"]["completion_tokens"] == 7
    assert client.chat(max_tokens=9).json["usage"]["completion_tokens"] == 9


def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers_before_any_compute(serve, engine, kit):
    kit.cached_fake("small", context=100)
    client = serve().client
    client.model = "small"
    for fields in ({}, {"stream": True}):
        answer = client.chat("x" * 500, **fields)
        assert answer.status == 400
        assert answer.error["code"] == "context_length_exceeded"
        assert "100" in answer.error["message"]
        assert "5" in answer.error["message"]
    assert engine.script.happened("add") == []


def test_n_choices_have_an_index_each_and_one_usage(client):
    whole = client.chat(n=3).json
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    alone = client.chat().json["usage"]
    assert whole["usage"]["prompt_tokens"] == alone["prompt_tokens"]
    assert whole["usage"]["completion_tokens"] == 3 * alone["completion_tokens"]

    *chunks, usage, _ = client.streamed(n=3, stream_options={"include_usage": True})
    assert usage["usage"] == whole["usage"]
    for index in range(3):
        own = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(choice["delta"].get("content", "") for choice in own) == "Hello, world."
        assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == ["stop"]


def test_choices_with_a_seed_have_different_ones(client, engine):
    client.chat(n=3, seed=7)
    client.chat(seed=-1)
    seeds = [row.sampling.seed for row in engine.script.happened("add")]
    assert sorted(seeds[:3]) == [7, 8, 9]
    assert seeds[3] >= 0


def test_logprobs_have_an_entry_a_token_whose_bytes_join_to_the_text(client, engine):
    engine.script.answer = lambda prompt: "Hé!"
    whole = client.chat(logprobs=True, top_logprobs=3).json["choices"][0]["logprobs"]
    streamed = [
        entry
        for chunk in client.streamed(logprobs=True, top_logprobs=3)[:-1]
        for entry in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]
    ]
    assert whole["content"] == streamed
    assert whole["refusal"] is None
    assert b"".join(bytes(entry["bytes"]) for entry in streamed).decode() == "Hé!"
    for entry in streamed:
        assert set(entry) == {"token", "logprob", "bytes", "top_logprobs"}
        order = [top["logprob"] for top in entry["top_logprobs"]]
        assert len(order) == 3
        assert order == sorted(order, reverse=True)
    assert client.chat(logprobs=True).json["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


def test_unset_sampling_values_come_from_the_models_generation_config(serve, engine, kit):
    model = kit.cached_fake("advised")
    (model.path / "generation_config.json").write_text('{"temperature": 0.25, "top_k": 20, "do_sample": true}')
    client = serve().client
    client.model = "advised"
    client.chat()
    client.chat(temperature=0.5, top_k=-1, top_p=0.5, min_p=0.125, presence_penalty=1, logit_bias={"65": 2})
    client.model = "fake"
    client.chat()
    advised, asked, neutral = (row.sampling for row in engine.script.happened("add"))
    assert (advised.temperature, advised.top_k, advised.top_p) == (0.25, 20, 1)
    assert (asked.temperature, asked.top_k, asked.top_p, asked.min_p) == (0.5, 0, 0.5, 0.125)
    assert (asked.presence_penalty, asked.logit_bias) == (1, {65: 2})
    assert (neutral.temperature, neutral.top_k, neutral.top_p, neutral.repetition_penalty) == (1, 0, 1, 1)


def test_sampling_values_of_a_model_that_no_engine_takes_are_left_out(serve, engine, kit):
    model = kit.cached_fake("advised")
    (model.path / "generation_config.json").write_text('{"temperature": -1, "repetition_penalty": 1e-320, "top_p": 2}')
    client = serve().client
    client.model = "advised"
    assert client.chat().status == 200
    [row] = engine.script.happened("add")
    assert (row.sampling.temperature, row.sampling.repetition_penalty, row.sampling.top_p) == (1, 1, 1)


def test_developer_is_system_and_text_parts_are_joined(client, engine):
    prompts = []
    engine.script.answer = lambda prompt: prompts.append(prompt) or "ok"
    parts = [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]
    client.post(
        "/v1/chat/completions",
        {"model": "fake", "messages": [{"role": "developer", "content": parts}, {"role": "user", "content": "Hi"}]},
    )
    assert prompts == ["<system>Be brief.\n<user>Hi\n<assistant>"]


def _json(value):
    import json

    return json.dumps(value)
