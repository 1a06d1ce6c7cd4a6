"""The routes of Ollama's API."""

from __future__ import annotations

import falcon
import msgspec

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.server import NDJSON, ServerContext
from mlxk_ollama.catalog import describe_model, find_model, list_models, running_models
from mlxk_ollama.encoders import ChatEncoder, TextEncoder, encode_error, timestamp
from mlxk_ollama.generation import chat_generation, text_generation
from mlxk_ollama.requests import ChatRequest, Common, GenerateRequest, ShowRequest
from mlxk_protocol.decode import decode

API_VERSION = "0.13.0"
"""The version of Ollama whose requests are understood: clients compare it with the one they need."""


def extend(server: ServerContext) -> None:
    """Add the routes to a server."""
    for path, resource in {
        "/api/chat": Chat(server),
        "/api/generate": Generate(server),
        "/api/tags": Tags(server),
        "/api/show": Show(server),
        "/api/ps": Running(server),
        "/api/version": Version(),
    }.items():
        server.add_route(path, resource, errors=encode_error)


class Chat:
    """`POST /api/chat`; without messages it loads the model."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), ChatRequest)
        model = find_model(self._server, request.model)
        if not request.messages:
            self._server.service.preload(model)
            _loaded(resp, request, {"message": {"role": "assistant", "content": ""}})
            return
        generation = chat_generation(request, model, self._server.settings.max_tokens)
        encoder = ChatEncoder(request.model, thinking=_shows_thinking(self._server, request))
        self._server.respond(req, resp, [generation], encoder, stream=request.stream)


class Generate:
    """`POST /api/generate`; without a prompt it loads the model."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), GenerateRequest)
        model = find_model(self._server, request.model)
        if not request.prompt:
            self._server.service.preload(model)
            _loaded(resp, request, {"response": ""})
            return
        generation = text_generation(request, model, self._server.settings.max_tokens)
        encoder = TextEncoder(request.model, thinking=_shows_thinking(self._server, request))
        self._server.respond(req, resp, [generation], encoder, stream=request.stream)


class Tags:
    """`GET /api/tags`."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {"models": list_models(self._server)}


class Running:
    """`GET /api/ps`."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {"models": running_models(self._server)}


class Show:
    """`POST /api/show`."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), ShowRequest)
        name = request.model or request.name
        if not name:
            raise InvalidOption("model", "required")
        resp.media = describe_model(self._server, find_model(self._server, name))


class Version:
    """`GET /api/version`."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {"version": API_VERSION}


def _shows_thinking(server: ServerContext, request: Common) -> bool:
    return request.think is not False and not server.settings.hide_reasoning


def _loaded(resp: falcon.Response, request: Common, part: dict[str, object]) -> None:
    document = {"model": request.model, "created_at": timestamp(), **part, "done_reason": "load", "done": True}
    resp.content_type = NDJSON if request.stream else falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(document) + (b"\n" if request.stream else b"")
