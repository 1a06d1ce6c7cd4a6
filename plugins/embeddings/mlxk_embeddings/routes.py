"""`POST /v1/embeddings`."""

from __future__ import annotations

import base64
import threading
from array import array
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import falcon
import msgspec
from msgspec import Meta, Struct

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.server import ServerContext
from mlxk_embeddings.embedding import Input, embed_inputs
from mlxk_protocol.decode import decode

MAX_INPUTS = 2048
TokenIds = list[Annotated[int, Meta(ge=0)]]


class EmbeddingRequest(Struct, kw_only=True):
    """`prompt_name` chooses one of the model's prefixes; `truncate` cuts inputs that are too long."""

    model: Annotated[str, Meta(min_length=1)]
    input: str | list[str | int | TokenIds]
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    prompt_name: str | None = None
    truncate: bool = False
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1)] | None = None
    user: str | None = None


def extend(server: ServerContext) -> None:
    """Add the route to a server."""
    server.add_route("/v1/embeddings", EmbeddingsResource(server))


class EmbeddingsResource:
    """The vectors of texts or of lists of token ids, as OpenAI returns them."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), EmbeddingRequest)
        if request.truncate_prompt_tokens is not None:
            raise InvalidOption("truncate_prompt_tokens", "not supported; use truncate")
        model = self._server.models.get(request.model)
        left = threading.Event()
        self._server.on_disconnect(req, left.set)
        found = embed_inputs(
            self._server.service,
            model,
            _inputs(request.input),
            prompt_name=request.prompt_name,
            dimensions=request.dimensions,
            truncate=request.truncate,
            cancelled=left.is_set,
        )
        self._server.on_disconnect(req, None)
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": index, "embedding": _written(vector, request.encoding_format)}
                    for index, vector in enumerate(found.vectors)
                ],
                "model": request.model,
                "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
            }
        )


def _inputs(value: str | list[str | int | TokenIds]) -> list[Input]:
    """A text, a list of texts, token ids, or a list of those."""
    if isinstance(value, str):
        return [value]
    if not value:
        raise InvalidOption("input", "must not be empty")
    if all(isinstance(part, int) for part in value):
        return [[part for part in value if isinstance(part, int)]]
    inputs: list[Input] = [part for part in value if not isinstance(part, int)]
    if len(inputs) != len(value):
        raise InvalidOption("input", "expected texts, token ids, or lists of token ids, not a mixture")
    if len(inputs) > MAX_INPUTS:
        raise InvalidOption("input", f"at most {MAX_INPUTS} inputs in one request")
    return inputs


def _written(vector: Sequence[float], format: str) -> Any:
    if format == "base64":
        return base64.b64encode(array("f", vector).tobytes()).decode()
    return vector
