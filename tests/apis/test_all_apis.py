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


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}


def response_items(response):
    keys = ("type", "status", "content", "name", "arguments")
    return [{key: item[key] for key in keys if key in item} for item in response["output"]]


def message_blocks(reply):
    """The blocks of a streamed message, put together as Anthropic's SDK does."""
    blocks = []
    for event in reply.events:
        if event["type"] == "content_block_start":
            blocks.append({**event["content_block"], "json": ""})
        elif event["type"] == "content_block_delta":
            for name in {"text", "thinking"} & event["delta"].keys():
                blocks[-1][name] += event["delta"][name]
            blocks[-1]["json"] += event["delta"].get("partial_json", "")
    return [
        {k: v for k, v in {**block, "input": json.loads(block["json"] or "null")}.items() if k not in ("json", "id")}
        if block["type"] == "tool_use"
        else {"type": block["type"], "text": block["text"]}
        for block in blocks
    ]


@pytest.mark.parametrize("limit", [12, 40, 400])
def test_texts_and_calls_have_the_order_in_which_the_model_wrote_them(api, limit):
    body = {"model": "tiny/mixed", "tools": [{"type": "function", "name": "get_weather", "parameters": PARAMETERS}]}
    body |= {"input": [TURN], "max_output_tokens": limit, **GREEDY}
    whole = api.post("/v1/responses", body).json
    streamed = api.post("/v1/responses", {**body, "stream": True}).events[-1]["response"]
    assert response_items(whole) == response_items(streamed)
    body = {"model": "tiny/mixed", "tools": [{"name": "get_weather", "input_schema": PARAMETERS}], "messages": [TURN]}
    body |= {"max_tokens": limit, **GREEDY}
    blocks = [{k: v for k, v in block.items() if k != "id"} for block in api.post("/v1/messages", body).json["content"]]
    assert blocks == message_blocks(api.post("/v1/messages", {**body, "stream": True}))
    if limit == 400:
        kinds = ["text", "tool_use", "tool_use", "text", "tool_use", "text"]
        assert [block["type"] for block in blocks] == kinds
        assert [item["type"] == "function_call" for item in whole["output"]] == [kind == "tool_use" for kind in kinds]


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
