"""Counts the operations of steps whose graph MLX cannot export."""

from __future__ import annotations

import io
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from mlxk_mlx.engine.step_costs import SEVERAL, StepCost, StepCosts


def count_steps(network: Any, limit: StepCost) -> StepCosts:
    """Return the operations of a step of one token and of `SEVERAL`, the most that a step then reads; of one only if
    that is not within `limit`. The sizes of arrays are not known. Raises what the code of the network raises."""
    one = _operations(network, 1)
    if not one.within(limit):
        return StepCosts(((1, one),))
    return StepCosts(((1, one), (SEVERAL, _operations(network, SEVERAL))))


def _operations(network: Any, tokens: int) -> StepCost:
    cache: list[Any] = make_prompt_cache(network)
    logits = network(mx.zeros((1, tokens), dtype=mx.uint32), cache=cache)
    text = io.StringIO()
    mx.export_to_dot(text, logits)
    return StepCost(0, 0, text.getvalue().count("shape=rectangle"))
