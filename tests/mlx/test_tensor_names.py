"""Numbers in the names of tensors."""

from __future__ import annotations

import pytest

from mlxk_mlx.loading.tensor_names import deep_name, missing_numbers

LAYERS = [f"model.layers.{layer}.experts.{expert}.w" for layer in range(40) for expert in range(64)]


@pytest.mark.parametrize(
    "names", [[], LAYERS, [*LAYERS, "vision.blocks.7.weight", "x.-5", "1.y"], ["x.²", f"x.{'9' * 5000}"]]
)
def test_published_names_have_enough_tensors(names):
    assert missing_numbers(names) is None


@pytest.mark.parametrize("number", ["1000000000", "1_000_000_000", " +1000000000 ", "١٠٠٠٠٠٠٠٠٠"])
def test_a_number_far_beyond_the_others_is_found(number):
    assert missing_numbers([*LAYERS, f"vision.{number}.x"]) == "vision.1000000000"


def test_many_lists_with_gaps_are_found():
    assert missing_numbers([f"x{place}.900.y" for place in range(1000)])


def test_a_name_with_more_parts_than_any_real_one_is_found():
    name = "model.language_model.vision_tower.layers.0.mlp.experts.0.gate_proj.weight.quant_state.bitsandbytes__nf4"
    assert deep_name([*LAYERS, name]) is None
    assert deep_name([*LAYERS, "1." * 70 + "weight"]) == "1." * 70 + "weight"


def test_there_are_signs_of_life_while_many_names_are_read():
    signs = []
    missing_numbers([f"layers.{number}.w" for number in range(100_000)], lambda: signs.append(1))
    assert len(signs) > 3
