"""The OpenAPI document: made from the structs that requests are checked with, so that it cannot say something else."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from mlxk_core import __version__
from mlxk_serve.openai.requests import ChatRequest, TextRequest

_REF = "#/components/schemas/{name}"
_NULLABLE_STRING = {"type": ["string", "null"]}
_ERRORS = {
    "400": "The request cannot be answered as it is.",
    "401": "A valid API key is needed.",
    "403": "This Host or Origin is not let in.",
    "404": "There is no such model or route.",
    "405": "Not with this method.",
    "413": "The body is too large.",
    "415": "Not with this content type.",
    "429": "Too many requests wait; Retry-After says when to try again.",
    "431": "The headers are too large.",
    "500": "The server failed.",
    "501": "Not a transfer encoding this server speaks.",
    "503": "Not now: loading, out of memory, the engine failed, or shutting down.",
}


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The whole document."""
    _, requests = msgspec.json.schema_components([ChatRequest, TextRequest], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {"title": "mlxk", "version": __version__, "summary": "Local language models over the OpenAI API."},
        "paths": {
            "/v1/models": {"get": _operation("List the models that can be named.", _json("ModelList"))},
            "/v1/models/{model}": {
                "parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}],
                "get": _operation("One model; the id may hold slashes, raw or as %2F.", _json("Model")),
            },
            "/v1/chat/completions": {
                "post": _operation(
                    "Answer a conversation.", _json("ChatCompletion") | _stream("ChatChunk"), body="ChatRequest"
                )
            },
            "/v1/completions": {
                "post": _operation(
                    "Go on with a text.", _json("TextCompletion") | _stream("TextChunk"), body="TextRequest"
                )
            },
            "/v1/status": {"get": _operation("What the server is doing.", _json("Object"))},
            "/health": {"get": _operation("200 while answers can be had.", _json("Health"), unhealthy="Health")},
            "/livez": {"get": _operation("200 while the process lives.", _json("Object"))},
            "/metrics": {"get": _operation("For Prometheus.", {"text/plain": {"schema": {"type": "string"}}})},
            "/openapi.json": {"get": _operation("This document.", _json("Object"))},
        },
        "components": {
            "schemas": {**requests, **_ANSWERS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{}, {"bearer": []}, {"x-api-key": []}],
    }


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(name=name)}}}


def _stream(chunk: str) -> dict[str, Any]:
    """Before OpenAPI 3.2 the schema of an event stream is, by custom, that of each event."""
    ref = [{"$ref": _REF.format(name=name)} for name in (chunk, "Error")]
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": ref}}
    event = _object({"data": {"anyOf": [{"const": "[DONE]"}, data]}})
    return {"text/event-stream": {"schema": event}}


def _operation(
    summary: str, content: dict[str, Any], *, body: str | None = None, unhealthy: str | None = None
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Done.", "content": content}}
    responses |= {status: {"description": told, "content": _json("Error")} for status, told in _ERRORS.items()}
    if unhealthy:
        responses["503"] = {"description": "No answers can be had.", "content": _json(unhealthy)}
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if body:
        operation["requestBody"] = {"required": True, "content": _json(body)}
    return operation


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_STRING, _COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
_LOGPROBS = {"type": ["object", "null"]}
_REASON = {"enum": ["stop", "length", "tool_calls"]}
_REASON_AT_THE_END = {"enum": [*_REASON["enum"], None]}
_HEAD = {"id": _STRING, "created": _COUNT, "model": _STRING, "system_fingerprint": _STRING}
_USAGE = _object(
    {
        "prompt_tokens": _COUNT,
        "completion_tokens": _COUNT,
        "total_tokens": _COUNT,
        "prompt_tokens_details": _object({"cached_tokens": _COUNT}),
        "completion_tokens_details": _object({"reasoning_tokens": _COUNT}),
    }
)
_TOOL_CALL_DELTA = _object(
    {"index": _COUNT},
    id=_STRING,
    type={"const": "function"},
    function=_object({"arguments": _STRING}, name=_STRING),
)
_DELTA = _object(
    {},
    role={"const": "assistant"},
    content=_STRING,
    reasoning_content=_STRING,
    reasoning=_STRING,
    tool_calls=_array(_TOOL_CALL_DELTA),
)
_MESSAGE = _object(
    {"role": {"const": "assistant"}, "content": _NULLABLE_STRING, "refusal": {"type": "null"}},
    reasoning_content=_STRING,
    reasoning=_STRING,
    tool_calls=_array(
        _object(
            {"id": _STRING, "type": {"const": "function"}, "function": _object({"name": _STRING, "arguments": _STRING})}
        )
    ),
)
_ANSWERS: dict[str, Any] = {
    "Object": {"type": "object"},
    "Error": _object(
        {"error": _object({"message": _STRING, "type": _STRING, "param": _NULLABLE_STRING, "code": _NULLABLE_STRING})}
    ),
    "Health": _object({"status": {"enum": ["ok", "engine_stalled", "shutting_down"]}}),
    "Model": _object(
        {
            "id": _STRING,
            "object": {"const": "model"},
            "created": _COUNT,
            "owned_by": _STRING,
            "context_length": {**_COUNT, "type": ["integer", "null"]},
            "loaded": {"type": "boolean"},
            "capabilities": _array(_STRING),
        }
    ),
    "ModelList": _object({"object": {"const": "list"}, "data": _array({"$ref": _REF.format(name="Model")})}),
    "ChatCompletion": _object(
        {
            **_HEAD,
            "object": {"const": "chat.completion"},
            "choices": _array(
                _object({"index": _COUNT, "message": _MESSAGE, "logprobs": _LOGPROBS, "finish_reason": _REASON})
            ),
            "usage": _USAGE,
        }
    ),
    "ChatChunk": _object(
        {
            **_HEAD,
            "object": {"const": "chat.completion.chunk"},
            "choices": _array(
                _object({"index": _COUNT, "delta": _DELTA, "logprobs": _LOGPROBS, "finish_reason": _REASON_AT_THE_END})
            ),
        },
        usage={"anyOf": [_USAGE, {"type": "null"}]},
    ),
    "TextCompletion": _object(
        {
            **_HEAD,
            "object": {"const": "text_completion"},
            "choices": _array(
                _object({"index": _COUNT, "text": _STRING, "logprobs": _LOGPROBS, "finish_reason": _REASON})
            ),
            "usage": _USAGE,
        }
    ),
    "TextChunk": _object(
        {
            **_HEAD,
            "object": {"const": "text_completion"},
            "choices": _array(
                _object({"index": _COUNT, "text": _STRING, "logprobs": _LOGPROBS, "finish_reason": _REASON_AT_THE_END})
            ),
        },
        usage={"anyOf": [_USAGE, {"type": "null"}]},
    ),
}
