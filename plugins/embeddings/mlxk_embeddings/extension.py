"""The routes that this plugin adds to a server."""

from __future__ import annotations

from mlxk_core.api.server import Operation, ServerContext
from mlxk_embeddings.embeddings_route import EmbeddingsRequest, EmbeddingsResource, EmbeddingsResponse
from mlxk_embeddings.rerank_route import RerankingRequest, RerankResource, RerankResponse


def extend(server: ServerContext) -> None:
    """Add the routes to a server. Cohere's clients ask for `/v2/rerank`, Jina's and vLLM's for `/v1/rerank`."""
    embedding = Operation(method="post", summary="Embed texts.", request=EmbeddingsRequest, response=EmbeddingsResponse)
    reranking = Operation(
        method="post", summary="Rank documents by a query.", request=RerankingRequest, response=RerankResponse
    )
    server.add_route("/v1/embeddings", EmbeddingsResource(server), operations=[embedding])
    for path in ("/v1/rerank", "/v2/rerank"):
        server.add_route(path, RerankResource(server), operations=[reranking])
