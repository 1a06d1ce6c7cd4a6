"""Sampling values of a model: those of the user's settings, then those of its own files."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlxk_core._models.model import Model

TERMINAL_SAMPLING: Mapping[str, float] = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1}
"""`Sampling` fields for one person at a terminal, where neither settings nor the model have a value."""
_FIELDS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_SETTINGS = (*_FIELDS, "presence_penalty", "frequency_penalty")


def model_sampling(model: Model) -> Mapping[str, float]:
    """Return the `Sampling` fields that the user's settings, the model's source or `generation_config.json` set;
    `do_sample: false` is greedy. Values that are not finite numbers are left out."""
    config = model.generation_config
    found = {name: config[name] for name in _FIELDS if _is_number(config.get(name))}
    if config.get("do_sample") is False:
        found["temperature"] = 0.0
    if "top_k" in found:
        found["top_k"] = max(0, int(found["top_k"]))
    chosen = {name: value for name in _SETTINGS if (value := getattr(model.settings, name)) is not None}
    return {**found, **chosen}


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
