"""Embeddings and logits of whole inputs: one pass of a decoder network, a chunk of tokens at a time."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from mlxk_core.api.backends import Pooling
from mlxk_core.api.errors import BrokenModel, UnsupportedModel


def embed(
    network: Any, inputs: Sequence[Sequence[int]], *, pooling: Pooling, normalize: bool, chunk: int, vocab_size: int
) -> Iterator[Sequence[Sequence[float]] | None]:
    """Yield None after each `chunk` tokens of all inputs, and at last one vector an input.

    Raises `UnsupportedModel` if `network` has no inner model with hidden states, and what `pad` does.
    """
    body = getattr(network, "model", None)
    if body is None:
        raise UnsupportedModel("This architecture cannot embed: its network has no hidden states to pool.")
    lengths, sums, start = [len(tokens) for tokens in inputs], None, 0
    for hidden in _passes(body, _new_cache(network, inputs), pad(inputs, vocab_size), chunk):
        if not isinstance(hidden, mx.array) or hidden.ndim != 3:
            raise UnsupportedModel("This architecture cannot embed: its network does not return hidden states.")
        chosen = _chosen(lengths, pooling, start, hidden.shape[1])
        part = mx.where(chosen[..., None], hidden.astype(mx.float32), 0.0).sum(axis=1)
        sums = part if sums is None else sums + part
        mx.eval(hidden, sums)
        start += hidden.shape[1]
        yield None
    assert sums is not None
    yield vectors_of(_vectors(sums, lengths, pooling, normalize))


def next_token_logits(
    network: Any, inputs: Sequence[Sequence[int]], tokens: Sequence[int], *, chunk: int, vocab_size: int
) -> Iterator[Sequence[Sequence[float]] | None]:
    """Yield None after each `chunk` tokens of all inputs, and at last the logits of `tokens` after each input.

    Raises what `pad` does.
    """
    ends = [len(each) - 1 for each in inputs]
    columns = pad([tokens], vocab_size)[0]
    cache = _new_cache(network, inputs)
    found: dict[int, Sequence[float]] = {}
    start = 0
    for logits in _passes(network, cache, pad(inputs, vocab_size), chunk):
        stop = start + logits.shape[1]
        here = [index for index, end in enumerate(ends) if start <= end < stop]
        rows = [logits[index, ends[index] - start, columns].astype(mx.float32) for index in here]
        mx.eval(rows, [layer.state for layer in cache])  # unused logits are not computed
        found.update(zip(here, (row.tolist() for row in rows), strict=True))
        start = stop
        yield None
    yield [found[index] for index in range(len(inputs))]


def _new_cache(network: Any, inputs: Sequence[Sequence[int]]) -> Any:
    """Return caches that take what the longest of `inputs` needs: they grow by steps of 256 tokens for each input."""
    cache = make_prompt_cache(network)
    for layer in cache:
        for inner in getattr(layer, "caches", [layer]):
            if hasattr(inner, "step"):
                inner.step = max(map(len, inputs))
    return cache


def pad(inputs: Sequence[Sequence[int]], count: int) -> mx.array:
    """Return ids padded on the right with 0: mx.array, shape [inputs, longest], int32.

    Raises `BrokenModel` for an id outside of `range(count)`: MLX reads other memory for it, or ends the process. A
    client's ids are checked before, so it comes from a tokenizer or a config that does not fit the weights. Raises it
    also for an input without ids.
    """
    for ids in inputs:
        if not ids:
            raise BrokenModel("The model's tokenizer returned no tokens.")
        for extreme in (min(ids), max(ids)):
            if not 0 <= extreme < count:
                raise BrokenModel(f"The model's tokenizer or config gives the id {extreme:,} (0 to {count - 1:,}).")
    longest = max(len(tokens) for tokens in inputs)
    return mx.array([[*tokens, *[0] * (longest - len(tokens))] for tokens in inputs], dtype=mx.int32)


def pool(hidden: mx.array, lengths: Sequence[int], pooling: Pooling, normalize: bool) -> mx.array:
    """Return the vectors of inputs: mx.array, shape [inputs, size], float32.

    `hidden`: mx.array, shape [inputs, tokens, size]; `lengths` counts the tokens of each input, without padding.
    """
    chosen = _chosen(lengths, pooling, 0, hidden.shape[1])
    sums = mx.where(chosen[..., None], hidden.astype(mx.float32), 0.0).sum(axis=1)
    return _vectors(sums, lengths, pooling, normalize)


def _chosen(lengths: Sequence[int], pooling: Pooling, start: int, count: int) -> mx.array:
    """Return which of `count` tokens from `start` on make the vectors: mx.array, shape [inputs, count], bool."""
    tokens, counts = mx.arange(start, start + count)[None], mx.array(list(lengths))[:, None]
    match pooling:
        case "last":
            return tokens == counts - 1
        case "cls":
            return mx.broadcast_to(tokens == 0, (len(lengths), count))
        case "mean":
            return tokens < counts


def _vectors(sums: mx.array, lengths: Sequence[int], pooling: Pooling, normalize: bool) -> mx.array:
    """Return the vectors from sums over their tokens, both mx.array, shape [inputs, size], float32."""
    vectors = sums / mx.array(list(lengths))[:, None] if pooling == "mean" else sums
    if normalize:
        vectors = vectors / mx.maximum(mx.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors


def vectors_of(rows: mx.array) -> list[array[float]]:
    """Return the rows of an mx.array, shape [inputs, size], float32, as arrays: lists take eight times the memory."""
    numbers = memoryview(mx.contiguous(rows)).cast("B")
    size = numbers.nbytes // rows.shape[0]
    return [array("f", numbers[start : start + size].tobytes()) for start in range(0, numbers.nbytes, size)]


def _passes(network: Any, cache: Any, tokens: mx.array, chunk: int) -> Iterator[Any]:
    """Yield what `network` returns for each chunk: causal, so the padding on the right changes nothing."""
    width = max(1, chunk // tokens.shape[0])
    for start in range(0, tokens.shape[1], width):
        yield network(tokens[:, start : start + width], cache=cache)
