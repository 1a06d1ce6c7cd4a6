"""The weights that a network multiplies each token by."""

from __future__ import annotations

import mlx.nn as nn
import pytest

from mlxk_mlx.engine.weight_count import weight_count


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_packed_weights_count_as_many_as_they_hold(bits):
    plain = nn.Sequential(nn.Linear(128, 64, bias=False), nn.Linear(64, 64, bias=False))
    packed = nn.Sequential(nn.Linear(128, 64, bias=False), nn.Linear(64, 64, bias=False))
    nn.quantize(packed, group_size=64, bits=bits)
    groups = 2 * 64 * (128 + 64) // 64  # scales and biases
    assert (weight_count(plain), weight_count(packed)) == (64 * 192, 64 * 192 + groups)
