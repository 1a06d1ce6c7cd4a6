"""How many heads the attention of a network has: they multiply the memory of its scores, whatever its caches take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import mlx.core as mx


@contextmanager
def observed_heads() -> Iterator[list[int]]:
    """Yield a list to which each attention in the `with` block adds its number of heads. For the engine thread."""
    attention = mx.fast.scaled_dot_product_attention
    heads: list[int] = []

    @wraps(attention)
    def observed(q: mx.array, *rest: Any, **options: Any) -> mx.array:
        heads.append(q.shape[1])
        result: mx.array = attention(q, *rest, **options)
        return result

    mx.fast.scaled_dot_product_attention = observed
    try:
        yield heads
    finally:
        mx.fast.scaled_dot_product_attention = attention
