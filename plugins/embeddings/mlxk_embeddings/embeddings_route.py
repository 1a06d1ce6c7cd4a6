"""`POST /v1/embeddings`."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import falcon
import msgspec
from msgspec import Meta, Struct

from mlxk_core.api.embeddings import EmbeddingRequest, Embeddings, embed
from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.server import Cancellation, ServerContext
from mlxk_protocol.decode import decode
from mlxk_protocol.encode import encoded_each

MAX_INPUTS = 2048
TokenIds = list[Annotated[int, Meta(ge=0)]]


class EmbeddingsRequest(Struct, kw_only=True):
    """`prompt_name` chooses one of the model's prefixes; `truncate` cuts inputs that are too long."""

    model: Annotated[str, Meta(min_length=1)]
    input: str | list[str | int | TokenIds]
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    prompt_name: str | None = None
    truncate: bool | None = None
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1)] | None = None
    user: str | None = None


class EmbeddingObject(Struct, kw_only=True):
    """One vector: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Sequence[float] | str


class EmbeddingsUsage(Struct):
    """Tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(Struct, kw_only=True):
    """The vectors, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingsUsage


class EmbeddingsResource:
    """The vectors of texts or of lists of token ids, as OpenAI returns them."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), EmbeddingsRequest)
        if request.truncate_prompt_tokens is not None:
            raise InvalidOption("truncate_prompt_tokens", "not supported; use truncate")
        asked = EmbeddingRequest(
            model=self._server.models.get(request.model),
            inputs=_inputs(request.input),
            prompt_name=request.prompt_name,
            dimensions=request.dimensions,
            truncate=bool(request.truncate),
        )

        def work(cancellation: Cancellation) -> Iterable[bytes]:
            found = embed(self._server.service, asked, cancelled=lambda: cancellation.cancelled)
            yield msgspec.json.encode(_response(request, found))

        self._server.run(req, resp, work, content_type=falcon.MEDIA_JSON, stream=False)


def _inputs(value: str | list[str | int | TokenIds]) -> list[str | Sequence[int]]:
    """A text, a list of texts, token ids, or a list of those."""
    if isinstance(value, str):
        return [value]
    if not value:
        raise InvalidOption("input", "must not be empty")
    if all(isinstance(part, int) for part in value):
        return [[part for part in value if isinstance(part, int)]]
    inputs: list[str | Sequence[int]] = [part for part in value if not isinstance(part, int)]
    if len(inputs) != len(value):
        raise InvalidOption("input", "expected texts, token ids, or lists of token ids, not a mixture")
    if len(inputs) > MAX_INPUTS:
        raise InvalidOption("input", f"has {len(inputs)} inputs; at most {MAX_INPUTS} in one request")
    return inputs


def _response(request: EmbeddingsRequest, found: Embeddings) -> EmbeddingsResponse:
    return EmbeddingsResponse(
        data=encoded_each(
            EmbeddingObject(index=index, embedding=_encode(vector, request.encoding_format))
            for index, vector in enumerate(found.vectors)
        ),
        model=request.model,
        usage=EmbeddingsUsage(found.tokens, found.tokens),
    )


def _encode(vector: array[float], format: str | None) -> Sequence[float] | str:
    return base64.b64encode(vector.tobytes()).decode() if format == "base64" else vector.tolist()
