"""Embeddings: the hidden states of a decoder network, pooled into one vector an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from mlxk_core.api.backends import Pooling
from mlxk_core.api.errors import UnsupportedModel


def embed(
    network: Any, inputs: Sequence[Sequence[int]], *, pooling: Pooling, normalize: bool
) -> Sequence[Sequence[float]]:
    """Return one vector an input. Raises `UnsupportedModel` if `network` has no inner model with hidden states."""
    body = getattr(network, "model", None)
    if body is None:
        raise UnsupportedModel("This architecture cannot embed: its network has no hidden states to pool.")
    hidden = body(pad(inputs))
    if not isinstance(hidden, mx.array) or hidden.ndim != 3:
        raise UnsupportedModel("This architecture cannot embed: its network does not return hidden states.")
    lists: Sequence[Sequence[float]] = pool(hidden, [len(tokens) for tokens in inputs], pooling, normalize).tolist()
    return lists


def pad(inputs: Sequence[Sequence[int]]) -> mx.array:
    """Return token ids padded on the right with 0: mx.array, shape [inputs, longest], int32."""
    longest = max(len(tokens) for tokens in inputs)
    return mx.array([[*tokens, *[0] * (longest - len(tokens))] for tokens in inputs], dtype=mx.int32)


def pool(hidden: mx.array, lengths: Sequence[int], pooling: Pooling, normalize: bool) -> mx.array:
    """Return the vectors of inputs: mx.array, shape [inputs, size], float32.

    `hidden`: mx.array, shape [inputs, tokens, size]; `lengths` counts the tokens of each input, without padding.
    """
    hidden = hidden.astype(mx.float32)
    counts = mx.array(list(lengths))
    match pooling:
        case "last":
            vectors = hidden[mx.arange(len(lengths)), counts - 1]
        case "cls":
            vectors = hidden[:, 0]
        case "mean":
            inside = (mx.arange(hidden.shape[1])[None] < counts[:, None])[..., None]
            vectors = mx.where(inside, hidden, 0.0).sum(axis=1) / counts[:, None]
    if normalize:
        vectors = vectors / mx.maximum(mx.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors
