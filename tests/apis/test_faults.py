"""One fault, one error: every API answers the same mistake with the same status, type and words."""

from __future__ import annotations

import pytest

USER = {"role": "user", "content": "Hi"}
BODIES = {
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
