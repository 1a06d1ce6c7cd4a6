"""Fields that an API does not have: a misspelled one is an error, any other is reported."""

from __future__ import annotations

import json

import pytest

CHAT = {"model": "tiny/talker", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20}
BODIES = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "tiny/talker", "prompt": "Hi"},
    "/v1/responses": {"model": "tiny/talker", "input": "Hi"},
    "/v1/messages": CHAT,
    "/api/chat": {**{k: v for k, v in CHAT.items() if k != "max_tokens"}, "stream": False},
    "/v1/embeddings": {"model": "tiny/embeds-last", "input": "Hi"},
    "/tokenize": {"model": "tiny/talker", "prompt": "Hi"},
}


def message(reply):
    """The error's sentence, in whichever shape the API has."""
    error = reply.json["error"]
    return error if isinstance(error, str) else error["message"]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("name", ["modl", "Model"])
def test_a_misspelled_field_is_an_error_that_names_the_right_one(api, path, name):
    reply = api.post(path, {**BODIES[path], name: "x"})
    assert reply.status == 400
    assert name in message(reply)
    assert "model" in message(reply).replace(name, "")


@pytest.mark.parametrize("path", BODIES)
def test_an_unknown_field_is_skipped_and_named_in_a_header(api, path):
    reply = api.post(path, {**BODIES[path], "favourite_colour": "blue", "zz top": 1})
    assert reply.status == 200, reply.body
    assert set(reply.headers["x-ignored-fields"].split(", ")) == {"favourite_colour", "zz?top"}
    assert "x-ignored-fields" not in api.post(path, BODIES[path]).headers


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("temprature", "temperature"),
        ("maxTokens", "max_tokens"),
        ("max_new_tokens", "max_tokens"),
        ("tools_choice", "tool_choice"),
    ],
)
def test_names_of_other_apis_and_languages_are_recognized(api, name, meant):
    reply = api.post("/v1/chat/completions", {**CHAT, name: 1})
    assert reply.json["error"]["code"] == "unknown_parameter"
    assert reply.json["error"]["param"] == name
    assert f"`{meant}`" in message(reply)


def test_a_field_after_a_long_conversation_is_found_too(api):
    long = [{"role": "user", "content": "x" * 300_000}]
    reply = api.post("/v1/chat/completions", {**CHAT, "messages": long, "temprature": 1})
    assert (reply.status, reply.json["error"]["param"]) == (400, "temprature")


@pytest.mark.parametrize("size", [10, 300_000])
def test_null_in_a_field_of_another_api_is_skipped(api, size):
    body = {**BODIES["/v1/responses"], "reasoning_effort": None, "truncation": "auto"}
    reply = api.post("/v1/responses", {**body, "instructions": "x", "metadata": {}, "zz": "x" * size})
    assert (reply.status, "reasoning_effort" in reply.headers["x-ignored-fields"]) == (200, True), reply.body
    refused = api.post("/v1/responses", {**body, "reasoning_effort": "low", "zz": "x" * size})
    assert (refused.status, refused.json["error"]["param"]) == (400, "reasoning_effort")


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize(
    ("name", "meant"),
    [("temprature", "temperature"), ("max_tokens", "num_predict"), ("repetition_penalty", "repeat_penalty")],
)
def test_a_misspelled_option_of_ollama_is_an_error(api, path, name, meant):
    body = {"model": "tiny/talker", "messages": CHAT["messages"], "prompt": "Hi", "stream": False}
    del body["prompt" if path == "/api/chat" else "messages"]
    reply = api.post(path, {**body, "options": {"seed": 1, name: 1}})
    assert (reply.status, f"options.{name}" in message(reply), f"`{meant}`" in message(reply)) == (400, True, True)
    options = {"num_ctx": 2048, "num_gpu": 1, "num_predict": 4, "lucky_number": 7}
    fine = api.post(path, {**body, "options": options, "favourite_colour": "blue"})
    assert fine.status == 200
    assert fine.headers["x-ignored-fields"] == "favourite_colour, options.lucky_number"


@pytest.mark.parametrize("number", ["5", "5.0"])  # a body with `5.0` for a whole number is read twice
@pytest.mark.parametrize(
    ("skipped", "status"), [(b'"\\ud800"', 400), (b"[" * 100_000 + b"]" * 100_000, 400), (b'"\xf2"', 200)]
)
def test_a_field_that_is_skipped_never_fails_the_server(api, skipped, status, number):
    fields = {name: value for name, value in CHAT.items() if name != "max_tokens"}
    body = json.dumps(fields).encode()[:-1] + f', "max_tokens": {number}, "zz": '.encode() + skipped + b"}"
    reply = api.post("/v1/messages", body)
    assert reply.status == status, reply.body


def test_fields_that_are_null_ask_for_nothing_and_few_are_named(api):
    reply = api.post("/v1/chat/completions", {**CHAT, **{f"temperature{number}": None for number in range(9000)}})
    assert reply.status == 200, reply.body
    assert 0 < len(reply.headers["x-ignored-fields"].split(", ")) <= 20
