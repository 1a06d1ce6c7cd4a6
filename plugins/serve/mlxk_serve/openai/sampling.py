"""Sampling values: those of the request, else those the model's files recommend, else OpenAI's neutral defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxk_core.api import Model, Sampling
from mlxk_core.api.generation import model_sampling
from mlxk_serve.http.errors import invalid
from mlxk_serve.openai.requests import CommonRequest

_DRAWN = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)


def sampling_of(request: CommonRequest, model: Model, *, logprobs: int | None) -> Sampling:
    """Return the sampling values of `request`; `logprobs` is the number of alternatives (None: no logprobs)."""
    values: dict[str, Any] = dict(model_sampling(model))
    values |= {name: asked for name in _DRAWN if (asked := getattr(request, name)) is not None}
    if request.repetition_penalty is None and request.repeat_penalty is not None:  # llama.cpp's and LM Studio's name
        values["repetition_penalty"] = request.repeat_penalty
    values["top_k"] = max(0, values.get("top_k", 0))  # -1 is vLLM's word for off
    if values.get("top_p") == 0:  # the smallest set of tokens: the likeliest one
        values |= {"top_p": 1.0, "top_k": 1}
    seed = None if request.seed is None else request.seed % 2**63  # OpenAI allows negative ones, random keys do not
    return Sampling(**values, seed=seed, logit_bias=_bias(request.logit_bias or {}), logprobs=logprobs)


def _bias(bias: Mapping[str, float]) -> dict[int, float]:
    try:
        return {int(token): value for token, value in bias.items()}
    except ValueError:
        raise invalid("`logit_bias`: every key must be a token id, a whole number as a string.", "logit_bias") from None
