"""Parts that encoders share: attention without a causal mask, and activations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import mlx.core as mx
import mlx.nn as nn

from mlxk_core.api.errors import UnsupportedModel

_QUERIES = 512
"""Queries whose attention is computed at once: 8,192 tokens would need gigabytes for all of their scores."""
_ACTIVATIONS: Mapping[str, Callable[[mx.array], mx.array]] = {
    "gelu": nn.gelu,
    "gelu_new": nn.gelu_approx,
    "gelu_pytorch_tanh": nn.gelu_approx,
    "gelu_fast": nn.gelu_approx,
    "relu": nn.relu,
    "silu": nn.silu,
    "swish": nn.silu,
    "tanh": mx.tanh,
}


class Encoder(nn.Module, ABC):
    """A network that turns token ids into hidden states, layer by layer.

    `layers` are its layers. Arrays of states have the shape [inputs, tokens, size]; `valid`, shape [inputs, tokens] and
    bool, is False for padding, and None without any.
    """

    layers: list[nn.Module]

    @abstractmethod
    def embed(self, tokens: mx.array, types: mx.array | None) -> mx.array:
        """Return the states before the first layer. `tokens`, `types` (None: all 0): shape [inputs, tokens], int32.

        Their ids are in range. Raises `BrokenModel` for more tokens than the network has positions.
        """

    def finish(self, states: mx.array) -> mx.array:
        """Return the states after the last layer."""
        return states

    def classify(self, states: mx.array, valid: mx.array | None) -> mx.array:
        """Return the outputs of the classifier, shape [inputs, labels]."""
        raise UnsupportedModel("This network has no classifier.")


def activation(name: str) -> Callable[[mx.array], mx.array]:
    """Return the function that a config calls `name`. Raises `UnsupportedModel` for an unknown one."""
    if name not in _ACTIVATIONS:
        raise UnsupportedModel(f"The activation {name} is not supported; supported are {', '.join(_ACTIVATIONS)}.")
    return _ACTIVATIONS[name]


def attend(
    queries: mx.array, keys: mx.array, values: mx.array, valid: mx.array | None, window: int | None = None
) -> mx.array:
    """Return the attention of all tokens to all valid ones, at most `window` tokens away.

    Arrays have the shape [inputs, heads, tokens, size of a head].
    """
    length = queries.shape[2]
    scale = queries.shape[-1] ** -0.5
    if length <= _QUERIES:
        mask = _mask(0, length, length, valid, window)
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
    blocks = []
    for start in range(0, length, _QUERIES):
        stop = min(length, start + _QUERIES)
        mask = _mask(start, stop, length, valid, window)
        block = mx.fast.scaled_dot_product_attention(queries[:, :, start:stop], keys, values, scale=scale, mask=mask)
        mx.eval(block)  # else the scores of all blocks are in memory at once
        blocks.append(block)
    return mx.concatenate(blocks, axis=2)


def split_heads(states: mx.array, heads: int) -> mx.array:
    """Return states as [inputs, heads, tokens, size of a head]."""
    inputs, tokens, size = states.shape
    return states.reshape(inputs, tokens, heads, size // heads).transpose(0, 2, 1, 3)


def join_heads(states: mx.array) -> mx.array:
    """Return what `split_heads` took apart as [inputs, tokens, size]."""
    inputs, heads, tokens, size = states.shape
    return states.transpose(0, 2, 1, 3).reshape(inputs, tokens, heads * size)


def validity(lengths: Sequence[int]) -> mx.array | None:
    """Return which tokens of padded inputs are not padding: shape [inputs, tokens], bool; None without padding."""
    longest = max(lengths)
    if min(lengths) == longest:
        return None
    return mx.arange(longest)[None] < mx.array(list(lengths))[:, None]


def _mask(start: int, stop: int, length: int, valid: mx.array | None, window: int | None) -> mx.array | None:
    """Return which keys the queries from `start` to `stop` see, broadcast to [inputs, heads, queries, keys]."""
    mask = None if valid is None else valid[:, None, None]
    if window is not None and window < length - 1:
        near = mx.abs(mx.arange(start, stop)[:, None] - mx.arange(length)[None]) <= window
        # A padding query sees itself, so that no row of the softmax is empty.
        mask = near[None, None] if mask is None else near[None, None] & (mask | _itself(start, stop, length))
    return mask


def _itself(start: int, stop: int, length: int) -> mx.array:
    return (mx.arange(start, stop)[:, None] == mx.arange(length)[None])[None, None]
