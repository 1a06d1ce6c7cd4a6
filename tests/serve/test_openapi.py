"""`/openapi.json`: made from what requests are checked with."""

from __future__ import annotations

import json

import jsonschema
import pytest


@pytest.fixture
def document(client):
    return client.get("/openapi.json").json


def validate(document, name, value):
    jsonschema.validate(value, {"$ref": f"#/components/schemas/{name}", "components": document["components"]})


def test_every_route_is_described_and_every_reference_resolves(document, client):
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    for reference in set(_references(document)):
        assert reference.removeprefix("#/components/schemas/") in schemas
    for path, operations in document["paths"].items():
        if "get" in operations and "{" not in path:
            assert client.get(path).status == 200


def test_answers_are_as_described(document, client):
    validate(document, "ChatCompletion", client.chat(logprobs=True, n=2).json)
    text = client.post("/v1/completions", {"model": "fake", "prompt": "x", "logprobs": 1}).json
    validate(document, "TextCompletion", text)
    validate(document, "ModelList", client.get("/v1/models").json)
    validate(document, "HealthObject", client.get("/health").json)
    validate(document, "ErrorResponse", client.chat(n=0).json)


def test_the_server_rejects_what_its_openapi_document_forbids(document, client):
    for fields in ({"temperature": 5}, {"n": 0}, {"messages": []}, {"logit_bias": {"1": 200}}):
        body = client.chat_body(**fields)
        with pytest.raises(jsonschema.ValidationError):
            validate(document, "ChatRequest", body)
        assert client.post("/v1/chat/completions", body).status == 400
    validate(document, "ChatRequest", json.loads(json.dumps(client.chat_body(temperature=1, n=2))))


def _references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
