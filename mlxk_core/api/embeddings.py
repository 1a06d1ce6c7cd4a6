"""Embeddings and rankings: work of the generation service other than generations."""

from __future__ import annotations

from mlxk_core._embedding.configuration import EmbeddingConfiguration, embedding_configuration
from mlxk_core._embedding.embedding import EmbeddingRequest, Embeddings, InputTooLong, embed
from mlxk_core._embedding.reranking import RankedDocument, Ranking, RerankRequest, rerank

__all__ = [
    "EmbeddingConfiguration",
    "EmbeddingRequest",
    "Embeddings",
    "InputTooLong",
    "RankedDocument",
    "Ranking",
    "RerankRequest",
    "embed",
    "embedding_configuration",
    "rerank",
]
