"""What holds for all APIs together: the same text, streamed and whole, and one OpenAPI document."""

from __future__ import annotations

import json
import urllib.request

import jsonschema
import pytest

MODELS = ["tiny/talker", "tiny/random", "tiny/thinker"]
LIMIT = 24
TURN = {"role": "user", "content": "Say it: äöü 🎉"}
GREEDY = {"temperature": 0}


def data_of(reply):
    """The data of server-sent events."""
    lines = [line[6:] for line in reply.body.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def chat(api, model, *, stream):
    body = {"model": model, "messages": [TURN], "max_tokens": LIMIT, "stream": stream, **GREEDY}
    reply = api.post("/v1/chat/completions", body)
    if not stream:
        message = reply.json["choices"][0]["message"]
        return message["content"], message.get("reasoning_content", "")
    deltas = [choice["delta"] for event in data_of(reply) for choice in event["choices"]]
    return tuple("".join(delta.get(name) or "" for delta in deltas) for name in ("content", "reasoning_content"))


def responses(api, model, *, stream):
    body = {"model": model, "input": [TURN], "max_output_tokens": LIMIT, "stream": stream, **GREEDY}
    reply = api.post("/v1/responses", body)
    if stream:
        kinds = "response.output_text.delta", "response.reasoning_text.delta"
        return tuple("".join(e["delta"] for e in reply.events if e["type"] == kind) for kind in kinds)
    kinds = "output_text", "reasoning_text"
    parts = [part for item in reply.json["output"] for part in item["content"]]
    return tuple("".join(part["text"] for part in parts if part["type"] == kind) for kind in kinds)


def messages(api, model, *, stream):
    body = {"model": model, "messages": [TURN], "max_tokens": LIMIT, "stream": stream, **GREEDY}
    body["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    reply = api.post("/v1/messages", body)
    if stream:
        deltas = [event["delta"] for event in reply.events if event["type"] == "content_block_delta"]
        return tuple("".join(delta.get(name, "") for delta in deltas) for name in ("text", "thinking"))
    return tuple("".join(block.get(name, "") for block in reply.json["content"]) for name in ("text", "thinking"))


def ollama(api, model, *, stream):
    options = {"num_predict": LIMIT, **GREEDY}
    reply = api.post("/api/chat", {"model": model, "messages": [TURN], "stream": stream, "options": options})
    parts = [line["message"] for line in (reply.lines if stream else [reply.json])]
    return tuple("".join(part.get(name) or "" for part in parts) for name in ("content", "thinking"))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("ask", [responses, messages, ollama], ids=lambda ask: ask.__name__)
def test_every_api_gives_the_text_of_chat_completions_streamed_and_whole(api, ask, model):
    expected = tuple(text.strip() for text in chat(api, model, stream=False))
    assert expected[0]
    for text in (chat(api, model, stream=True), ask(api, model, stream=False), ask(api, model, stream=True)):
        assert tuple(part.strip() for part in text) == expected


@pytest.fixture(scope="module")
def document(api_server):
    request = urllib.request.Request(
        api_server.base_url.removesuffix("/v1") + "/openapi.json", headers={"authorization": "Bearer correct-horse"}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def test_the_openapi_document_has_the_routes_of_every_extension(document):
    routes = {"/v1/responses", "/v1/responses/{id}", "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings",
              "/v1/rerank", "/api/chat", "/api/tags", "/api/embed", "/v1/chat/completions", "/tokenize"}  # fmt: skip
    assert routes <= set(document["paths"])
    known = document["components"]["schemas"]
    references = [part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]]
    assert set(references) <= set(known)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "tiny/talker", "input": "Hi"}),
        ("/v1/messages", {"model": "tiny/talker", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}),
        ("/v1/embeddings", {"model": "tiny/embeds-last", "input": "Hi"}),
    ],
)
def test_requests_and_responses_of_extensions_are_as_described(api, document, path, body):
    operation = document["paths"][path]["post"]
    components = {"components": document["components"]}
    request = operation["requestBody"]["content"]["application/json"]["schema"]
    response = operation["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(body, {**request, **components})
    jsonschema.validate(api.post(path, body).json, {**response, **components})
