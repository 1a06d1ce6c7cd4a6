"""The routes that this plugin adds to a server."""

from __future__ import annotations

from mlxk_core.api.server import ServerContext
from mlxk_embeddings.embeddings_route import EmbeddingsResource
from mlxk_embeddings.rerank_route import RerankResource


def extend(server: ServerContext) -> None:
    """Add the routes to a server. Cohere's clients ask for `/v2/rerank`, Jina's and vLLM's for `/v1/rerank`."""
    server.add_route("/v1/embeddings", EmbeddingsResource(server))
    reranking = RerankResource(server)
    server.add_route("/v1/rerank", reranking)
    server.add_route("/v2/rerank", reranking)
