"""Sampling values: those of the request, else those the model's files recommend, else OpenAI's neutral defaults."""

from __future__ import annotations

from collections.abc import Mapping

from mlxk_core.api import Model, Sampling
from mlxk_protocol.sampling import request_sampling
from mlxk_serve.http.errors import invalid
from mlxk_serve.openai.requests import CommonRequest

_LONGEST_SHOWN = 40


def sampling_of(request: CommonRequest, model: Model, *, logprobs: int | None) -> Sampling:
    """Return the sampling values of `request`; `logprobs` is the number of alternatives (None: no logprobs)."""
    penalty = request.repetition_penalty
    return request_sampling(
        model,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        min_p=request.min_p,
        repetition_penalty=request.repeat_penalty if penalty is None else penalty,  # as llama.cpp and LM Studio call it
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logit_bias=_bias(request.logit_bias or {}),
        seed=request.seed,
        logprobs=logprobs,
    )


def _bias(bias: Mapping[str, float]) -> dict[int, float]:
    found = {}
    for token, value in bias.items():
        try:
            found[int(token)] = value
        except ValueError:
            raise invalid(
                f"`logit_bias`: {token[:_LONGEST_SHOWN]!r} is not a token id. Write a whole number as a string.",
                "logit_bias",
            ) from None
    return found
