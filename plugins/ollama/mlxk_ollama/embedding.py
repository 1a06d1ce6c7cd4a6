"""`POST /api/embed`, and `/api/embeddings` of older clients."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

import falcon
import msgspec

from mlxk_core.api.embeddings import EmbeddingRequest, embed
from mlxk_core.api.models import Model
from mlxk_core.api.server import Cancellation, ServerContext
from mlxk_ollama.catalog import find_model
from mlxk_ollama.requests import EmbedRequest, OldEmbedRequest
from mlxk_protocol.decode import decode
from mlxk_protocol.encode import encoded_each
from mlxk_protocol.keep_alive import keep_alive_seconds

_NANOSECONDS = 1_000_000_000


class Embed:
    """The vectors of a text or of several; without a text the model is loaded."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), EmbedRequest)
        texts = [request.input] if isinstance(request.input, str) else request.input or []
        asked = EmbeddingRequest(
            model=find_model(self._server, request.model),
            inputs=[] if texts == [""] else texts,
            dimensions=request.dimensions,
            truncate=request.truncate is not False,
            ttl=keep_alive_seconds(request.keep_alive),
        )
        work = partial(_embed, self._server, asked, request.model)
        self._server.run(req, resp, work, content_type=falcon.MEDIA_JSON, stream=False)


class OldEmbed:
    """The vector of one text; without a text the model is loaded."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), OldEmbedRequest)
        asked = EmbeddingRequest(
            model=find_model(self._server, request.model),
            inputs=[request.prompt] if request.prompt else [],
            truncate=True,
            option="prompt",
            ttl=keep_alive_seconds(request.keep_alive),
        )
        work = partial(_embed_one, self._server, asked)
        self._server.run(req, resp, work, content_type=falcon.MEDIA_JSON, stream=False)


def _embed(server: ServerContext, asked: EmbeddingRequest, name: str, cancellation: Cancellation) -> Iterable[bytes]:
    began = time.monotonic()
    _load(server, asked.model, asked.ttl, cancellation)
    loaded = time.monotonic()
    found = embed(server.service, asked, cancelled=lambda: cancellation.cancelled) if asked.inputs else None
    yield msgspec.json.encode(
        {
            "model": name,
            "embeddings": encoded_each(vector.tolist() for vector in found.vectors) if found else [],
            "total_duration": int((time.monotonic() - began) * _NANOSECONDS),
            "load_duration": int((loaded - began) * _NANOSECONDS),
            "prompt_eval_count": found.tokens if found else 0,
        }
    )


def _embed_one(server: ServerContext, asked: EmbeddingRequest, cancellation: Cancellation) -> Iterable[bytes]:
    if not asked.inputs:
        _load(server, asked.model, asked.ttl, cancellation)
        yield msgspec.json.encode({"embedding": []})
        return
    found = embed(server.service, asked, cancelled=lambda: cancellation.cancelled)
    yield msgspec.json.encode({"embedding": found.vectors[0].tolist()})


def _load(server: ServerContext, model: Model, ttl: float | None, cancellation: Cancellation) -> None:
    server.service.preload(model, waiting=cancellation.check, ttl=ttl or None)
