"""Parts that encoders share: attention without a causal mask, block by block, and activations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlxk_core.api.errors import UnsupportedModel
from mlxk_mlx.engine.weight_count import weight_count

BLOCK = 512
"""Tokens that a layer computes at once."""
LONG = 8192
"""Tokens of an input whose block attends to all of it at once; in a longer one, fewer tokens do. All scores of such an
input would take gigabytes."""
MOST_SCORES = 1 << 25
"""That are computed at once: half a second on an old CPU. Those of 512 tokens in a large network are 4 million."""
_MOST_NUMBERS = 1 << 24
"""In any other array that is computed at once. 512 tokens in a large network have 3 million, and a layer holds several
such arrays."""
_SIZE = 256
"""Of a head whose products take as long as all else that is done with a score: as long as so many products."""
_COPIES = 3
"""Arrays of scores that an attention holds: products, those that the mask leaves, and their softmax."""
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

    layers: list[EncoderLayer]

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


class EncoderLayer(nn.Module, ABC):
    """A layer, computed a block of tokens at a time. Tokens are at most `window` apart in its attention, if not None.

    Queries, keys and values have the shape [inputs, `heads`, tokens, `head_size`].
    """

    heads: int
    head_size: int
    window: int | None = None

    @abstractmethod
    def project(self, states: mx.array, start: int, length: int) -> tuple[mx.array, mx.array, mx.array]:
        """Return queries, keys and values of the tokens from `start` on, of inputs with `length` tokens."""

    @abstractmethod
    def combine(self, states: mx.array, attended: mx.array) -> mx.array:
        """Return the states of tokens after the layer, from those before and from the attention."""

    def blocks(self, states: mx.array, valid: mx.array | None) -> Iterator[mx.array | None]:
        """Yield the states after the layer, block by block, and None after other work that takes as long as a block.

        Only a single block is not evaluated yet: any number of tokens takes a bounded time from one yield to the next.
        """
        inputs, length, _ = states.shape
        size = max(1, min(BLOCK, _MOST_NUMBERS // (inputs * self._widest)))
        if length <= size:
            queries, keys, values = self.project(states, 0, length)
            if self._scores(inputs, length) * length <= MOST_SCORES:
                mask = _mask(0, length, length, valid, self.window)
                yield self.combine(states, _attend(queries, keys, values, mask))
                return
        projected = []
        for start in range(0, length, size):
            projected.append(self.project(states[:, start : start + size], start, length))
            mx.eval(projected[-1])
            yield None
        queries, keys, values = (mx.concatenate(part, axis=2) for part in zip(*projected, strict=True))
        del projected
        count = self._attending(inputs, length)
        for start in range(0, length, size):
            attended = []
            for first in range(start, min(length, start + size), count):
                last = min(length, start + size, first + count)
                mask = _mask(first, last, length, valid, self.window)
                attended.append(_attend(queries[:, :, first:last], keys, values, mask))
                mx.eval(attended[-1])
                yield None
            block = self.combine(states[:, start : start + size], mx.concatenate(attended, axis=1))
            mx.eval(block)
            yield block

    @property
    def most_inputs(self) -> int:
        """Inputs to compute at once: more would have too many numbers even one token at a time."""
        return max(1, _MOST_NUMBERS // self._widest)

    def widest_bytes(self, inputs: int, length: int) -> int:
        """Return the bytes of the largest array but scores that is computed at once, for inputs of `length` tokens."""
        tokens = min(inputs, self.most_inputs) * min(length, BLOCK)
        return 4 * min(tokens * self._widest, max(_MOST_NUMBERS, self._widest))

    def score_bytes(self, inputs: int, length: int) -> int:
        """Return the bytes of the scores that are computed at once, for inputs of `length` tokens."""
        inputs, length = min(inputs, self.most_inputs), max(1, length)  # a tokenizer may return no tokens
        return 4 * _COPIES * inputs * self.heads * length * min(length, self._attending(inputs, length))

    def block_products(self, inputs: int, length: int) -> int:
        """Return the products of a block, its scores counted as those that take as long."""
        return inputs * min(BLOCK, length) * (self._weights + _SIZE * self._scores(1, length))

    def _attending(self, inputs: int, length: int) -> int:
        """Return how many tokens of each of `inputs` attend to all of its `length` tokens at once."""
        return max(1, min(BLOCK, BLOCK * LONG // length, MOST_SCORES // self._scores(inputs, length)))

    def _scores(self, inputs: int, length: int) -> int:
        """Return the scores of a token of each of `inputs`, as numbers: in wide heads their products take longer."""
        return inputs * self.heads * length * (1 + self.head_size // _SIZE)

    @cached_property
    def _weights(self) -> int:
        return weight_count(self)

    @cached_property
    def _widest(self) -> int:
        """The longest axis of its weights: no array has more numbers for a token."""
        return max((axis for _, array in tree_flatten(self.parameters()) for axis in array.shape), default=1)


def activation(name: str) -> Callable[[mx.array], mx.array]:
    """Return the function that a config calls `name`. Raises `UnsupportedModel` for an unknown one."""
    if name not in _ACTIVATIONS:
        raise UnsupportedModel(f"The activation {name} is not supported; supported are {', '.join(_ACTIVATIONS)}.")
    return _ACTIVATIONS[name]


def split_heads(states: mx.array, heads: int) -> mx.array:
    """Return states as [inputs, heads, tokens, size of a head]."""
    inputs, tokens, size = states.shape
    return states.reshape(inputs, tokens, heads, size // heads).transpose(0, 2, 1, 3)


def validity(lengths: Sequence[int]) -> mx.array | None:
    """Return which tokens of padded inputs are not padding: shape [inputs, tokens], bool; None without padding."""
    longest = max(lengths)
    if min(lengths) == longest:
        return None
    return mx.arange(longest)[None] < mx.array(list(lengths))[:, None]


def _attend(queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None) -> mx.array:
    """Return the attention as [inputs, tokens, size of all heads]."""
    scale = queries.shape[-1] ** -0.5
    attended = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
    return attended.transpose(0, 2, 1, 3).flatten(2)


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
