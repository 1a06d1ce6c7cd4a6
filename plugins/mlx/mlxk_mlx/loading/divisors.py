"""Checks of numbers that MLX 0.32 divides by without a look: a zero from a config would end the process (SIGFPE)."""

from __future__ import annotations

from functools import wraps
from typing import Any


def check_divisors() -> None:
    """Make `mx.unflatten`, `mx.quantize` and attention raise `ValueError` for a divisor of 0, for all networks from now
    on."""
    import mlx.core as mx

    unflatten, quantize, attention = mx.unflatten, mx.quantize, mx.fast.scaled_dot_product_attention

    @wraps(unflatten)
    def checked_unflatten(a: Any, /, axis: int, shape: Any, **options: Any) -> Any:
        if 0 in shape and -1 in shape:
            raise ValueError(f"[unflatten] cannot infer a size of shape {tuple(shape)}")
        return unflatten(a, axis, shape, **options)

    @wraps(quantize)
    def checked_quantize(w: Any, /, group_size: int | None = None, *rest: Any, **options: Any) -> Any:
        if group_size is not None and group_size < 1:
            raise ValueError(f"[quantize] a group size of {group_size}")
        return quantize(w, group_size, *rest, **options)

    @wraps(attention)
    def checked_attention(q: Any, k: Any, *rest: Any, **options: Any) -> Any:
        if k.shape[1] < 1:
            raise ValueError("[scaled_dot_product_attention] no heads of keys")
        return attention(q, k, *rest, **options)

    mx.unflatten, mx.quantize, mx.fast.scaled_dot_product_attention = (
        checked_unflatten,
        checked_quantize,
        checked_attention,
    )
