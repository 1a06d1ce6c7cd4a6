"""How many weights a network multiplies each token by."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

_WORD = 32


def weight_count(network: Any) -> int:
    """Return the weights of an `mlx.nn.Module`; packed ones count as many as they hold."""
    count = sum(array.size for _, array in tree_flatten(network.parameters()))
    for module in network.modules():
        bits, weight = getattr(module, "bits", None), module.get("weight")
        if isinstance(bits, int) and isinstance(weight, mx.array) and weight.dtype == mx.uint32:
            count += weight.size * _WORD // max(1, bits) - weight.size
    return count
