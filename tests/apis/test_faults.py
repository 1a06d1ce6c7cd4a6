"""One fault, one error: every API answers the same mistake with the same status, type and words."""

from __future__ import annotations

from typing import Any

import pytest

USER = {"role": "user", "content": "Hi"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "tiny/talker", "messages": [USER], "max_tokens": 9},
    "/v1/completions": {"model": "tiny/talker", "prompt": "Hi", "max_tokens": 9},
    "/v1/responses": {"model": "tiny/talker", "input": [USER], "max_output_tokens": 16},
    "/v1/messages": {"model": "tiny/talker", "messages": [USER], "max_tokens": 9},
    "/v1/embeddings": {"model": "tiny/embeds-last", "input": "Hi"},
    "/tokenize": {"model": "tiny/talker", "prompt": "Hi"},
    "/api/chat": {"model": "tiny/talker", "messages": [USER], "stream": False},
    "/api/generate": {"model": "tiny/talker", "prompt": "Hi", "stream": False},
    "/api/embed": {"model": "tiny/embeds-last", "input": "Hi"},
}


def error(reply):
    """Type and message of an error in whichever shape its API has; the type is None at Ollama."""
    found = reply.json["error"]
    return (None, found) if isinstance(found, str) else (found["type"], found["message"])


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("name", ["tiny/talkr", "talker-", "TINY/talker", "talk", "tiny:talker"])
def test_an_unknown_model_gets_the_name_that_is_meant(api, path, name):
    reply = api.post(path, {**BODIES[path], "model": name})
    assert reply.status == 404
    assert "Did you mean `tiny/talker`?" in error(reply)[1]


@pytest.mark.parametrize("path", BODIES)
def test_an_unknown_model_without_a_likeness_gets_the_list(api, path):
    reply = api.post(path, {**BODIES[path], "model": "claude-sonnet-4"})
    assert (reply.status, "/v1/models" in error(reply)[1]) == (404, True)


@pytest.mark.parametrize(
    ("path", "meant", "kind"),
    [
        ("/v1/chat/completion", "/v1/chat/completions", "invalid_request_error"),
        ("/chat/completions", "/v1/chat/completions", "invalid_request_error"),
        ("/v1/response", "/v1/responses", "invalid_request_error"),
        ("/v1/message", "/v1/messages", "not_found_error"),
        ("/messages", "/v1/messages", "not_found_error"),
        ("/v1/api/chat", "/api/chat", None),
        ("/api/chats", "/api/chat", None),
    ],
)
def test_a_wrong_url_gets_the_one_that_is_meant_in_the_shape_of_its_api(api, path, meant, kind):
    reply = api.post(path, {})
    assert (reply.status, error(reply)[0]) == (404, kind)
    assert f"{meant}" in error(reply)[1].partition(path)[2]


def test_an_unknown_url_of_ollama_has_the_shape_of_ollama(api):
    assert error(api.post("/api/blobs/sha256:0", {})) == (None, "Unknown URL: /api/blobs/sha256:0.")


@pytest.mark.parametrize("path", BODIES)
def test_a_wrong_method_gets_the_right_one(api, path):
    reply = api.get(path)
    assert (reply.status, "POST" in error(reply)[1]) == (405, True)


# Each fault as it is written in each API, and words that every API's message must have.
GENERATING = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat", "/api/generate")
CHATS = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat")
ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
}
OPENAI = {401: "authentication_error"}


def conversation(path, turns):
    return {"input" if path == "/v1/responses" else "messages": turns}


def tool(path, schema):
    flat = {"name": "f", {"/v1/responses": "parameters"}.get(path, "input_schema"): schema}
    if path == "/v1/messages":
        return flat
    inner = flat if path == "/v1/responses" else {"function": {"name": "f", "parameters": schema}}
    return {"type": "function", **inner}


def image(path):
    block = {
        "/v1/chat/completions": {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        "/v1/responses": {"type": "input_image", "image_url": "data:image/png;base64,AA"},
        "/v1/messages": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}},
    }
    content = {"content": "Hi", "images": ["AA"]} if path == "/api/chat" else {"content": [block[path]]}
    return conversation(path, [{"role": "user", **content}])


def sampling(path, **values):
    return {"options": values} if path.startswith("/api") else values


def too_long(path):
    text = "word " * 20_000
    return {"prompt": text} if "prompt" in BODIES[path] else conversation(path, [{"role": "user", "content": text}])


BAD_SCHEMA = {"type": "object", "properties": {"city": {"type": "strin"}}}
FAULTS = {
    "unknown model": (BODIES, lambda path: {"model": "nothing"}, 404, "Model `nothing` not found."),
    "misspelled field": (BODIES, lambda path: {"modl": 1}, 400, "modl: unknown field. Did you mean `model`?"),
    "empty model": (GENERATING, lambda path: {"model": ""}, 400, "model: must not be empty"),
    "high temperature": (GENERATING, lambda path: sampling(path, temperature=9), 400, "temperature: must be at most 2"),
    "temperature as text": (
        GENERATING, lambda path: sampling(path, temperature="hot"), 400, "temperature: expected a number, got a string"
    ),
    "long prompt": (GENERATING, too_long, 400, "This model's maximum context length is 2048 tokens"),
    "bad role": (
        CHATS,
        lambda path: conversation(path, [{"role": "wizard", "content": "Hi"}]),
        400,
        "[0].role: `wizard` is unknown",
    ),
    "no messages": (CHATS[:3], lambda path: conversation(path, []), 400, ": must not be empty"),
    "no content": (CHATS[:3], lambda path: conversation(path, [{"role": "user"}]), 400, "[0].content: required"),
    "bad schema": (CHATS, lambda path: {"tools": [tool(path, BAD_SCHEMA)]}, 400, 'at $.properties.city.type: "strin"'),
    "schema as text": (CHATS, lambda path: {"tools": [tool(path, "x")]}, 400, ": expected an object"),
    "built-in tool": (
        CHATS,
        lambda path: {"tools": [{"type": "file_search", "name": "find"}]},
        400,
        "tools[0].type: tools of type `file_search` are not supported",
    ),
    "call without tools": (
        CHATS[:3],
        lambda path: {"tool_choice": {"type": "any"} if path == "/v1/messages" else "required"},
        400,
        "tool_choice: a call is required but the request has no tools",
    ),
    "image": (CHATS, image, 400, "is not supported; only text is"),
}  # fmt: skip


def expect(reply, path, status, words):
    kind, message = error(reply)
    assert (reply.status, words in message) == (status, True), reply.body
    types = ANTHROPIC if path == "/v1/messages" else OPENAI
    assert kind == (None if path.startswith("/api") else types.get(status, "invalid_request_error"))
    return message


@pytest.mark.parametrize("fault", FAULTS)
def test_the_same_fault_has_the_same_error_in_every_api(api, fault):
    paths, change, status, words = FAULTS[fault]
    codes = set()
    for path in paths:
        reply = api.post(path, {**BODIES[path], **change(path)})
        expect(reply, path, status, words)
        if path.startswith("/v1/") and path != "/v1/messages":
            codes.add(reply.json["error"]["code"])
    assert len(codes) == 1


OWN_PAGE = {"origin": "http://127.0.0.1:1", "host": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b'{"model": "tiny/talker",', {}, 400, "The body is not JSON: "),
        (b"", {}, 400, "The body is not JSON: it is empty."),
        (b'{"model": "\xff"}', {}, 400, "The body is not JSON: it is not UTF-8 text"),
        (b"[]", {}, 400, "The body must be a JSON object."),
        (b"{}", {"content_encoding": "gzip"}, 415, "Send the body uncompressed."),
        (b"{}", {**OWN_PAGE, "content_type": "text/plain"}, 415, "must be application/json"),
        (b"{}", {"content_length": str(1 << 40)}, 413, "The body is too large."),
        (b"{}", {"authorization": "Bearer wrong"}, 401, "A valid API key is required"),
    ],
)  # fmt: skip
def test_a_faulty_body_has_the_same_error_in_every_api(api, body, headers, status, words):
    messages = {expect(api.post(path, body, **headers), path, status, words) for path in BODIES}
    assert len(messages) == 1


def test_the_path_of_a_faulty_schema_is_that_of_the_request(api):
    for path, where in {"/v1/chat/completions": "function.parameters", "/v1/responses": "parameters"}.items():
        fine = tool(path, {"type": "object"})
        reply = api.post(path, {**BODIES[path], "tools": [fine, tool(path, BAD_SCHEMA)]})
        assert reply.json["error"]["param"] == f"tools[1].{where}"
