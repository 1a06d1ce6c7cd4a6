"""Sampling values of a request: its own, else the model's, else neutral defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxk_core.api import Model, Sampling
from mlxk_core.api.generation import model_sampling


def request_sampling(
    model: Model,
    *,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    presence_penalty: float | None = None,
    frequency_penalty: float | None = None,
    logit_bias: Mapping[int, float] | None = None,
    seed: int | None = None,
    logprobs: int | None = None,
) -> Sampling:
    """Return the sampling of a request on `model`; None means that the request does not say.

    `top_k` of 0 or -1 is off; `top_p` of 0 leaves only the likeliest token. `seed` may be negative. `logit_bias` is
    by token id, `logprobs` the number of alternatives.
    """
    asked = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
    }
    values: dict[str, Any] = dict(model_sampling(model))
    values |= {name: value for name, value in asked.items() if value is not None}
    values["top_k"] = max(0, int(values.get("top_k", 0)))  # -1 is vLLM's word for off
    if values.get("top_p") == 0:  # the smallest set of tokens
        values |= {"top_p": 1.0, "top_k": 1}
    key = None if seed is None else seed % 2**63  # OpenAI allows negative seeds, random keys do not
    return Sampling(**values, seed=key, logit_bias=dict(logit_bias or {}), logprobs=logprobs)
