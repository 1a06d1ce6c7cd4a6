"""Embeddings: a server extension and a command."""
