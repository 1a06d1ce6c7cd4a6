"""Checks of numbers that MLX 0.32 divides by without a look: a zero from a config would end the process (SIGFPE)."""

from __future__ import annotations

from functools import wraps
from typing import Any


def check_divisors() -> None:
    """Make `mx.unflatten` and `mx.quantize` raise `ValueError` for a divisor of 0, for all networks from now on."""
    import mlx.core as mx

    unflatten, quantize = mx.unflatten, mx.quantize

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

    mx.unflatten, mx.quantize = checked_unflatten, checked_quantize
