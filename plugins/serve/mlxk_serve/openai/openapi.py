"""The OpenAPI document, derived from the structs that requests are decoded into and responses encoded from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from mlxk_core import __version__
from mlxk_core.api.server import Operation
from mlxk_serve.catalog import ModelList, ModelObject
from mlxk_serve.http.errors import ErrorResponse
from mlxk_serve.openai.requests import ChatRequest, TextRequest
from mlxk_serve.openai.response_objects import ChatCompletion, ChatCompletionChunk, TextCompletion
from mlxk_serve.routes.model_loading import ModelRequest, ModelState
from mlxk_serve.routes.status import HealthObject, LiveObject, StatusObject
from mlxk_serve.routes.tokens import (
    DetokenizeRequest,
    DetokenizeResponse,
    TemplateRequest,
    TemplateResponse,
    TokenizeRequest,
    TokenizeResponse,
    TokenizerInfo,
)

_REF = "#/components/schemas/{name}"
_ERRORS = {
    "400": "The request is invalid.",
    "401": "A valid API key is required.",
    "403": "The Host or Origin is not allowed.",
    "404": "Unknown model or URL.",
    "405": "The method is not supported.",
    "409": "The model is in use.",
    "413": "The body is too large.",
    "415": "The content type or encoding is not supported.",
    "429": "Too many requests wait; Retry-After says when to try again.",
    "431": "The headers are too large.",
    "500": "The server failed.",
    "501": "The transfer encoding is not supported.",
    "503": "Temporarily unavailable: loading, out of memory, an engine failure, or shutdown.",
}
_STRUCTS: tuple[type[Struct], ...] = (
    ChatRequest, TextRequest, ChatCompletion, ChatCompletionChunk, TextCompletion, ModelList, ModelObject,
    HealthObject, LiveObject, StatusObject, ErrorResponse, ModelRequest, ModelState, TokenizeRequest, TokenizeResponse,
    DetokenizeRequest, DetokenizeResponse, TemplateRequest, TemplateResponse, TokenizerInfo,
)  # fmt: skip


def document(extensions: Mapping[str, Sequence[Operation]]) -> dict[str, Any]:
    """Return the whole document, with the routes of `extensions` by path."""
    own = _document()
    described, schemas = describe(extensions)
    paths: dict[str, Any] = dict(own["paths"])
    for path, operations in described.items():
        paths[path] = {**paths.get(path, {}), **operations}
    components = {**own["components"], "schemas": {**schemas, **own["components"]["schemas"]}}
    return {**own, "paths": paths, "components": components}


def describe(extensions: Mapping[str, Sequence[Operation]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the operations by path and method, and the schemas they refer to. Raises `TypeError` for a type that has
    no schema."""
    described = [(path, each) for path, operations in extensions.items() for each in operations]
    kinds = [kind for _, each in described for kind in _kinds(each)]
    # Under names of their own: another protocol may have a ChatRequest too.
    refs, found = msgspec.json.schema_components(kinds, ref_template=_REF.format(name="extension.{name}"))
    schemas = {f"extension.{name}": schema for name, schema in found.items()}
    schema_of = dict(zip(kinds, refs, strict=True))
    paths: dict[str, Any] = {}
    for path, each in described:
        content: dict[str, Any] = (
            {} if each.response is None else {"application/json": {"schema": schema_of[each.response]}}
        )
        if each.stream is not None:
            kind = each.stream.partition(";")[0]
            content[kind] = {"schema": {"type": "object" if kind == "text/event-stream" else "string"}}
        error = None if each.error is None else {"application/json": {"schema": schema_of[each.error]}}
        operation = _operation(each.summary, content, error=error)
        if parameters := _parameters(path, each):
            operation["parameters"] = parameters
        if each.request is not None:
            body = {"application/json": {"schema": schema_of[each.request]}}
            operation["requestBody"] = {"required": True, "content": body}
        paths[path] = {**paths.get(path, {}), each.method: operation}
    return paths, schemas


def _kinds(operation: Operation) -> list[Any]:
    return [kind for kind in (operation.request, operation.response, operation.error) if kind is not None]


def _parameters(path: str, operation: Operation) -> list[dict[str, Any]]:
    in_path = [field.partition(":")[0] for field in re.findall(r"\{([^}]*)\}", path)]
    return [
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path),
        *({"name": name, "in": "query", "schema": {"type": "string"}} for name in operation.query),
    ]


@lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(_STRUCTS, ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {"title": "mlxk", "version": __version__, "summary": "Local language models over the OpenAI API."},
        "paths": {
            "/v1/models": {"get": _operation("List the available models.", _json(ModelList))},
            "/v1/models/{model}": {
                "parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}],
                "get": _operation("Describe a model; the id may contain slashes, raw or as %2F.", _json(ModelObject)),
            },
            "/v1/chat/completions": {
                "post": _operation(
                    "Generate the next message of a conversation.",
                    _json(ChatCompletion) | _stream(ChatCompletionChunk),
                    body=ChatRequest,
                )
            },
            "/v1/completions": {
                "post": _operation(
                    "Continue a text.", _json(TextCompletion) | _stream(TextCompletion), body=TextRequest
                )
            },
            "/v1/models/load": {"post": _operation("Load a model.", _json(ModelState), body=ModelRequest)},
            "/v1/models/unload": {"post": _operation("Unload an idle model.", _json(ModelState), body=ModelRequest)},
            "/tokenize": {"post": _operation("Tokenize a text.", _json(TokenizeResponse), body=TokenizeRequest)},
            "/tokenizer_info": {
                "parameters": [{"name": "model", "in": "query", "schema": {"type": "string"}}],
                "get": _operation("Describe the tokenizer of a model.", _json(TokenizerInfo)),
            },
            "/detokenize": {
                "post": _operation("Return the text of tokens.", _json(DetokenizeResponse), body=DetokenizeRequest)
            },
            "/apply-template": {
                "post": _operation("Render a conversation.", _json(TemplateResponse), body=TemplateRequest)
            },
            "/v1/status": {"get": _operation("Describe what the server is doing.", _json(StatusObject))},
            "/health": {
                "get": _operation("200 while requests are answered.", _json(HealthObject), unhealthy=HealthObject)
            },
            "/livez": {"get": _operation("200 while the process lives.", _json(LiveObject))},
            "/metrics": {"get": _operation("Metrics for Prometheus.", {"text/plain": {"schema": {"type": "string"}}})},
            "/openapi.json": {
                "get": _operation("This document.", {"application/json": {"schema": {"type": "object"}}})
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{}, {"bearer": []}, {"x-api-key": []}],
    }


def _ref(struct: type[Struct]) -> dict[str, Any]:
    return {"$ref": _REF.format(name=struct.__name__)}


def _json(struct: type[Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(struct)}}


def _stream(chunk: type[Struct]) -> dict[str, Any]:
    """Before OpenAPI 3.2 the schema of an event stream is, by custom, that of each event."""
    refs = [_ref(chunk), _ref(ErrorResponse)]
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": refs}}
    event = {"type": "object", "properties": {"data": {"anyOf": [{"const": "[DONE]"}, data]}}, "required": ["data"]}
    return {"text/event-stream": {"schema": event}}


def _operation(
    summary: str,
    content: dict[str, Any],
    *,
    body: type[Struct] | None = None,
    error: dict[str, Any] | None = None,
    unhealthy: type[Struct] | None = None,
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Success.", "content": content}}
    failed = error or _json(ErrorResponse)
    responses |= {status: {"description": text, "content": failed} for status, text in _ERRORS.items()}
    if unhealthy:
        responses["503"] = {"description": "Requests are not answered.", "content": _json(unhealthy)}
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if body:
        operation["requestBody"] = {"required": True, "content": _json(body)}
    return operation
