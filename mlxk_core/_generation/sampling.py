"""Sampling values: their limits, and those of a model: of the user's settings, then of its own files."""

from __future__ import annotations

from collections.abc import Mapping

from mlxk_core._models.model import Model

TERMINAL_SAMPLING: Mapping[str, float] = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1}
"""`Sampling` fields for one person at a terminal, where neither settings nor the model have a value."""
SAMPLING_LIMITS: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 1000),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.001, 1000),
    "presence_penalty": (-10_000, 10_000),
    "frequency_penalty": (-10_000, 10_000),
    "logit_bias": (-10_000, 10_000),
}
"""The least and the greatest value of `Sampling` fields. Float16, in which networks compute, holds them and their
inverses: others would become 0 or infinite, and the logits NaN."""
_FIELDS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_MOST_INTEGER = (1 << 63) - 1
_SETTINGS = (*_FIELDS, "presence_penalty", "frequency_penalty")


def model_sampling(model: Model) -> Mapping[str, float]:
    """Return the `Sampling` fields that the user's settings, the model's source or `generation_config.json` set;
    `do_sample: false` is greedy. Values of the model that no engine takes are left out."""
    config = model.generation_config
    found = {name: config[name] for name in _FIELDS if _is_valid(name, config.get(name))}
    if config.get("do_sample") is False:
        found["temperature"] = 0.0
    if "top_k" in found:
        found["top_k"] = max(0, int(found["top_k"]))
    chosen = {name: value for name in _SETTINGS if (value := getattr(model.settings, name)) is not None}
    return {**found, **chosen}


def _is_valid(name: str, value: object) -> bool:
    least, most = SAMPLING_LIMITS.get(name, (-_MOST_INTEGER, _MOST_INTEGER))
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most
