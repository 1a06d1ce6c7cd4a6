"""The rules for rows that hold for every engine: `Engine.check` begins with them."""

from __future__ import annotations

import math

from mlxk_core._errors import InvalidOption
from mlxk_core._generation.engine import Row
from mlxk_core._generation.request import Sampling


def check_row(row: Row, vocab_size: int) -> None:
    """Raise `InvalidOption` for a row that no engine can run: an empty prompt, a token id out of range, or a sampling
    value that would fail inside a step."""
    if not row.prompt:
        raise InvalidOption("prompt", "must not be empty")
    least = 1 if row.prompt_logprobs is None else 0
    if row.max_tokens < least:
        raise InvalidOption("max_tokens", f"must be {least} or more, not {row.max_tokens}")
    if row.prompt_logprobs is not None and not 0 <= row.prompt_logprobs <= vocab_size:
        raise InvalidOption("prompt_logprobs", f"must be from 0 to {vocab_size}, not {row.prompt_logprobs}")
    for token in (min(row.prompt), max(row.prompt)):
        if not 0 <= token < vocab_size:
            raise InvalidOption("prompt", f"token id {token} is out of range (vocabulary size {vocab_size})")
    _check_sampling(row.sampling, vocab_size)


def _check_sampling(sampling: Sampling, vocab_size: int) -> None:
    _require("temperature", sampling.temperature, "a finite number, 0 or more", 0 <= sampling.temperature < math.inf)
    _require("top_p", sampling.top_p, "from 0 to 1", 0 <= sampling.top_p <= 1)
    _require("top_k", sampling.top_k, "0 (off) or more", sampling.top_k >= 0)
    _require("min_p", sampling.min_p, "from 0 to 1", 0 <= sampling.min_p <= 1)
    penalty = sampling.repetition_penalty
    _require("repetition_penalty", penalty, "a finite number above 0", 0 < penalty < math.inf)
    for name in ("presence_penalty", "frequency_penalty"):
        _require(name, getattr(sampling, name), "a finite number", math.isfinite(getattr(sampling, name)))
    for token, bias in sampling.logit_bias.items():
        if not 0 <= token < vocab_size:
            raise InvalidOption("logit_bias", f"token id {token} is out of range (vocabulary size {vocab_size})")
        _require("logit_bias", bias, "finite numbers", math.isfinite(bias))
    if sampling.logprobs is not None and not 0 <= sampling.logprobs <= vocab_size:
        raise InvalidOption("logprobs", f"must be from 0 to {vocab_size}, not {sampling.logprobs}")


def _require(option: str, value: float, what: str, holds: bool) -> None:
    if not holds:
        raise InvalidOption(option, f"must be {what}, not {value}")
