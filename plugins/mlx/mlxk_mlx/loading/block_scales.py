"""Scales of blocks of weights, which mlx-lm multiplies the weights by when it reads them (FP8)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mlxk_core.api.models import Tensor

_SUFFIX = "_scale_inv"
_BLOCK = 128
_GROWTH, _MARGIN = 4, 1 << 22
"""mlx-lm fills the weights up to whole blocks of 128 by 128 numbers: at most to so many times as many, and so many."""


def oversized_scales(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of scales for far more blocks than their weights have; None if there are none."""
    for name, scales in tensors.items():
        weights = tensors.get(name.removesuffix(_SUFFIX)) if name.endswith(_SUFFIX) else None
        if weights is None or len(scales.shape) < 2 or len(weights.shape) < 2:
            continue
        filled = _filled(math.ceil(size / _BLOCK) for size in weights.shape[-2:])
        if not _is_broadcast(scales.shape, weights.shape):
            filled = max(filled, _filled(scales.shape[-2:]))
        together = max(math.prod(shape[:-2]) for shape in (weights.shape, scales.shape))
        if filled * together > _GROWTH * weights.size + _MARGIN:
            return name
    return None


def _filled(blocks: Iterable[int]) -> int:
    return math.prod(_BLOCK * count for count in blocks)


def _is_broadcast(scales: tuple[int, ...], weights: tuple[int, ...]) -> bool:
    """Return whether there is a scale for each row or column, which has no blocks."""
    return len(scales) == len(weights) and all(one in (1, other) for one, other in zip(scales, weights, strict=True))
