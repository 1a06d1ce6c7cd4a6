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


def user(**fields):
    return {"role": "user", **fields}


def called(**fields):
    return {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", **fields}]}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/messages", {"messages": [user(content=[{"type": [1]}])]}, "messages[0].content[0].type"),
        (
            "/v1/messages",
            {"messages": [called(input={"_unparsed": [1]}), user(content="Hi")]},
            "messages[0].content[0].input._unparsed",
        ),
        ("/v1/responses", {"input": [{"type": [1]}]}, "input[0].type"),
        ("/v1/responses", {"input": [{"role": [1], "content": "Hi"}]}, "input[0].role"),
        ("/v1/responses", {"input": [user(content=[{"type": [1]}])]}, "input[0].content[0].type"),
        (
            "/v1/responses",
            {"input": [user(content=[{"type": "refusal", "refusal": [1]}])]},
            "input[0].content[0].refusal",
        ),
        ("/v1/responses", {"tools": [{"type": [1]}]}, "tools[0].type"),
        (
            "/v1/responses",
            {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": [1]}]}]},
            "tools[0].tools[0].type",
        ),
        ("/v1/responses", {"tools": [{"type": "function", "name": "f", "description": [1]}]}, "tools[0].description"),
        ("/v1/responses", {"tool_choice": {"type": [1]}}, "tool_choice.type"),
        ("/v1/responses", {"tool_choice": {"type": "allowed_tools", "mode": [1]}}, "tool_choice.mode"),
        ("/v1/chat/completions", {"response_format": {"type": [1]}}, "response_format.type"),
    ],
)
def test_a_value_that_must_be_a_text_is_not_shown(api, path, body, field):
    """To write two million numbers took seconds, in which nothing else was answered."""
    reply = api.post(path, {**BODIES[path], **body})
    assert (reply.status, message(reply)) == (400, f"{field}: expected a string")


def test_only_the_fields_of_a_tool_choice_that_are_read_are_repeated(api):
    tools = [{"type": "function", "name": "f"}, {"type": "web_search", "name": [1]}]
    choice = {"type": "function", "name": "f"}
    body = {**BODIES["/v1/responses"], "tools": tools, "max_output_tokens": 1}
    reply = api.post("/v1/responses", {**body, "tool_choice": {**choice, "description": "x"}})
    assert (reply.status, reply.json["tool_choice"]) == (200, choice)
