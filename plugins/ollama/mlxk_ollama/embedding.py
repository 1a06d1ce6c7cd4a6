"""`POST /api/embed`, and `/api/embeddings` of older clients."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import falcon
import msgspec

from mlxk_core.api.embeddings import EmbeddingRequest, Embeddings, embed
from mlxk_core.api.models import Model
from mlxk_core.api.server import Cancellation, ServerContext
from mlxk_ollama.catalog import find_model
from mlxk_ollama.requests import EmbedRequest, OldEmbedRequest
from mlxk_protocol.decode import decode
from mlxk_protocol.keep_alive import keep_alive_seconds
from mlxk_protocol.vectors import json_pieces, together

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
        work = partial(_embed, self._server, asked, request.model, partial(self._server.hold, req))
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
        work = partial(_embed_one, self._server, asked, partial(self._server.hold, req))
        self._server.run(req, resp, work, content_type=falcon.MEDIA_JSON, stream=False)


def _embed(
    server: ServerContext, asked: EmbeddingRequest, name: str, hold: Callable[[int], None], cancellation: Cancellation
) -> Iterable[bytes]:
    began = time.monotonic()
    _load(server, asked.model, asked.ttl, cancellation)
    loaded = time.monotonic()
    found = (
        embed(server.service, asked, cancelled=lambda: cancellation.cancelled, hold=hold)
        if asked.inputs
        else Embeddings([], 0)
    )
    rest = {
        "total_duration": int((time.monotonic() - began) * _NANOSECONDS),
        "load_duration": int((loaded - began) * _NANOSECONDS),
        "prompt_eval_count": found.tokens,
    }
    return together(_pieces(name, found.vectors, rest))


def _pieces(name: str, vectors: Sequence[array[float]], rest: dict[str, int]) -> Iterator[bytes]:
    yield b'{"model":%b,"embeddings":[' % msgspec.json.encode(name)
    for index, vector in enumerate(vectors):
        if index:
            yield b","
        yield from json_pieces(vector)
    yield b"]," + msgspec.json.encode(rest)[1:]


def _embed_one(
    server: ServerContext, asked: EmbeddingRequest, hold: Callable[[int], None], cancellation: Cancellation
) -> Iterable[bytes]:
    if not asked.inputs:
        _load(server, asked.model, asked.ttl, cancellation)
        yield msgspec.json.encode({"embedding": []})
        return
    found = embed(server.service, asked, cancelled=lambda: cancellation.cancelled, hold=hold)
    yield from together([b'{"embedding":', *json_pieces(found.vectors[0]), b"}"])


def _load(server: ServerContext, model: Model, ttl: float | None, cancellation: Cancellation) -> None:
    server.service.preload(model, waiting=cancellation.check, ttl=ttl or None)
