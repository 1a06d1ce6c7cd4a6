"""Scales that mlx-lm fills weights up for."""

from __future__ import annotations

import pytest

from mlxk_core.api.models import Tensor
from mlxk_mlx.loading.block_scales import oversized_scales


@pytest.mark.parametrize(
    ("weight", "scale", "oversized"),
    [
        ((7168, 2048), (56, 16), False),
        ((7168, 2048), (7168, 1), False),  # one a row
        ((256, 2048, 7168), (256, 16, 56), False),
        ((64, 64), (1, 1), False),
        ((64, 64), (), False),
        ((64, 64), (1000, 1000), True),
        ((65536, 1), (65536, 1), True),
        ((1, 64, 64), (500, 8, 8), True),
    ],
)
def test_scales_of_far_more_blocks_than_there_are_weights(weight, scale, oversized):
    tensors = {
        "a.weight": Tensor("F8_E4M3", weight, 0, 1), "a.weight_scale_inv": Tensor("F32", scale, 1, 2),
    }  # fmt: skip
    assert oversized_scales(tensors) == ("a.weight_scale_inv" if oversized else None)
