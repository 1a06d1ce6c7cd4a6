"""The heads of the attention in a network: they multiply the memory of its scores and the time of its products,
whatever its caches take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

import mlx.core as mx


class Heads(NamedTuple):
    """The heads of the queries of one layer, and how wide each is: the numbers of its key and its value together."""

    number: int
    width: int


@contextmanager
def observed_heads() -> Iterator[list[Heads]]:
    """Yield a list to which each attention in the `with` block adds its heads. For the engine thread."""
    attention = mx.fast.scaled_dot_product_attention
    heads: list[Heads] = []

    @wraps(attention)
    def observed(q: mx.array, *rest: Any, **options: Any) -> mx.array:
        result: mx.array = attention(q, *rest, **options)
        heads.append(Heads(q.shape[1], q.shape[-1] + result.shape[-1]))
        return result

    mx.fast.scaled_dot_product_attention = observed
    try:
        yield heads
    finally:
        mx.fast.scaled_dot_product_attention = attention
