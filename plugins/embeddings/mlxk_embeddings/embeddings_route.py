"""`POST /v1/embeddings`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Annotated, Literal

import falcon
import msgspec
from msgspec import Meta, Struct

from mlxk_core.api.embeddings import EmbeddingRequest, Embeddings, embed
from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.server import Cancellation, ServerContext
from mlxk_protocol.decode import decode
from mlxk_protocol.vectors import base64_pieces, json_pieces, together

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
            hold = partial(self._server.hold, req)
            found = embed(self._server.service, asked, cancelled=lambda: cancellation.cancelled, hold=hold)
            yield from together(_pieces(request, found))

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


def _pieces(request: EmbeddingsRequest, found: Embeddings) -> Iterator[bytes]:
    """Yield the response in pieces: as a whole it takes five times the memory of its vectors."""
    usage = EmbeddingsUsage(found.tokens, found.tokens)
    empty = msgspec.json.encode(EmbeddingsResponse(data=[], model=request.model, usage=usage))
    before, _, after = empty.partition(b"]")
    yield before
    pieces = base64_pieces if request.encoding_format == "base64" else json_pieces
    for index, vector in enumerate(found.vectors):
        yield b'%b{"object":"embedding","index":%d,"embedding":' % (b"," if index else b"", index)
        yield from pieces(vector)
        yield b"}"
    yield b"]" + after
