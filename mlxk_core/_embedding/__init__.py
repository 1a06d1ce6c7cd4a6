"""Embeddings and reranking: the second kind of work of the generation service."""
