"""The routes of Ollama's API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import falcon
import msgspec

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.server import NDJSON, ApiError, Cancellation, Operation, ServerContext
from mlxk_ollama.catalog import ModelList, find_model
from mlxk_ollama.embedding import Embed, OldEmbed
from mlxk_ollama.encoders import ChatEncoder, TextEncoder, encode_error
from mlxk_ollama.generation import chat_generation, text_generation
from mlxk_ollama.loading import load_or_unload
from mlxk_ollama.pulling import Pull
from mlxk_ollama.requests import (
    ChatRequest,
    Common,
    EmbedRequest,
    GenerateRequest,
    OldEmbedRequest,
    PullRequest,
    ShowRequest,
    decode_generation,
)
from mlxk_protocol.decode import decode

API_VERSION = "0.13.0"
"""The version of Ollama whose requests are understood: clients compare it with the one they need."""


_COMMANDS = {
    "copy": "--alias NAME=MODEL of `mlxk serve` names a model twice",
    "create": "`mlxk convert` writes models",
    "delete": "`mlxk rm` deletes models",
    "push": "`mlxk push` uploads models",
}
"""Routes that change models, which clients of the server cannot: what does."""


def extend(server: ServerContext) -> None:
    """Add the routes to a server."""

    def add(path: str, resource: object, summary: str, request: Any = None, stream: str | None = None) -> None:
        method: Literal["get", "post"] = "get" if request is None else "post"
        operation = Operation(
            method=method,
            summary=summary,
            request=request,
            response=dict[str, Any],
            stream=stream,
            error=dict[str, str],
        )
        server.add_route(path, resource, errors=encode_error, operations=[operation])

    add("/api/chat", Chat(server), "Continue a conversation.", ChatRequest, NDJSON)
    add("/api/generate", Generate(server), "Answer a prompt.", GenerateRequest, NDJSON)
    models = ModelList(server)
    add("/api/tags", Tags(server, models), "List the models.")
    add("/api/show", Show(server, models), "Describe a model.", ShowRequest)
    add("/api/ps", Running(models), "List the loaded models.")
    add("/api/version", Version(), "Return the version of the API.")
    add("/api/embed", Embed(server), "Embed texts.", EmbedRequest)
    add("/api/embeddings", OldEmbed(server), "Embed a text.", OldEmbedRequest)
    add("/api/pull", Pull(server), "Download a model.", PullRequest, NDJSON)
    server.add_route("/", Root(), errors=encode_error)
    for name, command in _COMMANDS.items():
        server.add_route(f"/api/{name}", Unsupported(command), errors=encode_error)


class Chat:
    """`POST /api/chat`; without messages it loads the model, or unloads it."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode_generation(req.bounded_stream.read(), ChatRequest)
        if not request.messages:
            part = {"message": {"role": "assistant", "content": ""}}
            load_or_unload(self._server, req, resp, request, part)
            return
        model = find_model(self._server, request.model)
        generation = chat_generation(request, model, self._server.settings.max_tokens)
        encoder = ChatEncoder(request.model, thinking=_shows_thinking(self._server, request))
        self._server.respond(req, resp, [generation], encoder, stream=request.stream)


class Generate:
    """`POST /api/generate`; without a prompt it loads the model, or unloads it."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode_generation(req.bounded_stream.read(), GenerateRequest)
        if not request.prompt:
            load_or_unload(self._server, req, resp, request, {"response": ""})
            return
        model = find_model(self._server, request.model)
        generation = text_generation(request, model, self._server.settings.max_tokens)
        encoder = TextEncoder(request.model, thinking=_shows_thinking(self._server, request))
        self._server.respond(req, resp, [generation], encoder, stream=request.stream)


class Tags:
    """`GET /api/tags`. Looking at hundreds of models for the first time takes seconds, which occupy no worker."""

    def __init__(self, server: ServerContext, models: ModelList) -> None:
        self._server = server
        self._models = models

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        def work(cancellation: Cancellation) -> Iterable[bytes]:
            yield msgspec.json.encode({"models": self._models.entries()})

        self._server.run(req, resp, work, content_type=falcon.MEDIA_JSON, stream=False, takes_place=False)


class Running:
    """`GET /api/ps`."""

    def __init__(self, models: ModelList) -> None:
        self._models = models

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {"models": self._models.running()}


class Show:
    """`POST /api/show`."""

    def __init__(self, server: ServerContext, models: ModelList) -> None:
        self._server = server
        self._models = models

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), ShowRequest)
        name = request.model or request.name
        if not name:
            raise InvalidOption("model", "required")
        resp.media = self._models.describe(find_model(self._server, name))


class Root:
    """`GET /`, which the `ollama` command asks before everything it does."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "Ollama's API is running (mlxk)."


class Unsupported:
    """A route of Ollama that mlxk does not have. `instead` is what does its work."""

    def __init__(self, instead: str) -> None:
        self._instead = instead

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise ApiError(404, f"{req.path} is not supported; {self._instead}.", code="unsupported")

    on_delete = on_post


class Version:
    """`GET /api/version`."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {"version": API_VERSION}


def _shows_thinking(server: ServerContext, request: Common) -> bool:
    return request.think is not False and not server.settings.hide_reasoning
