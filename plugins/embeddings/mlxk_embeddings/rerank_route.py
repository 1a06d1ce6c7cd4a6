"""`POST /v1/rerank`, as Jina, Cohere and vLLM have it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Annotated

import falcon
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mlxk_core.api.embeddings import Ranking, RerankRequest, rerank
from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.server import Cancellation, ServerContext
from mlxk_embeddings.embeddings_route import EmbeddingsUsage
from mlxk_protocol.decode import decode

MAX_DOCUMENTS = 1024


class Document(Struct):
    """A document as an object."""

    text: str


class RerankingRequest(Struct, kw_only=True):
    """`top_n` keeps the best documents; `instruction` says what fits, for models that read one."""

    model: Annotated[str, Meta(min_length=1)]
    query: Annotated[str, Meta(min_length=1)]
    documents: list[str | Document]
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = None
    instruction: str | None = None
    truncate: bool | None = None
    max_tokens_per_doc: Annotated[int, Meta(ge=1)] | None = None
    max_chunks_per_doc: Annotated[int, Meta(ge=1)] | None = None
    rank_fields: list[str] | None = None
    user: str | None = None


class RerankResult(Struct, kw_only=True):
    """A document by its index in the request."""

    index: int
    relevance_score: float
    document: Document | UnsetType = UNSET


class RerankResponse(Struct, kw_only=True):
    """The documents, the best first."""

    id: str
    model: str
    usage: EmbeddingsUsage
    results: list[RerankResult]


class RerankResource:
    """Documents by how well they fit a query, the best first."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), RerankingRequest)
        for option in ("max_tokens_per_doc", "max_chunks_per_doc", "rank_fields"):
            if getattr(request, option) is not None:
                raise InvalidOption(option, "not supported; use truncate to cut long documents")
        asked = RerankRequest(
            model=self._server.models.get(request.model),
            query=request.query,
            documents=_documents(request),
            top_n=request.top_n,
            instruction=request.instruction,
            truncate=bool(request.truncate),
        )

        def work(cancellation: Cancellation) -> Iterable[bytes]:
            found = rerank(self._server.service, asked, cancelled=lambda: cancellation.cancelled)
            yield msgspec.json.encode(_response(request, asked, found))

        self._server.run(req, resp, work, content_type=falcon.MEDIA_JSON, stream=False)


def _documents(request: RerankingRequest) -> list[str]:
    if not request.documents:
        raise InvalidOption("documents", "must not be empty")
    if len(request.documents) > MAX_DOCUMENTS:
        raise InvalidOption(
            "documents", f"has {len(request.documents)} entries; at most {MAX_DOCUMENTS} in one request"
        )
    return [each if isinstance(each, str) else each.text for each in request.documents]


def _response(request: RerankingRequest, asked: RerankRequest, found: Ranking) -> RerankResponse:
    return RerankResponse(
        id=f"rerank-{secrets.token_hex(12)}",
        model=request.model,
        usage=EmbeddingsUsage(found.tokens, found.tokens),
        results=[
            RerankResult(
                index=each.index,
                relevance_score=each.score,
                document=Document(asked.documents[each.index]) if request.return_documents is not False else UNSET,
            )
            for each in found.documents
        ],
    )
