"""The rules for rows that hold for every engine: `Engine.check` begins with them."""

from __future__ import annotations

from mlxk_core._errors import InvalidOption
from mlxk_core._generation.engine import Row
from mlxk_core._generation.request import Sampling
from mlxk_core._generation.sampling import SAMPLING_LIMITS


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
    if sampling.top_k < 0:
        raise InvalidOption("top_k", f"must be 0 (off) or more, not {sampling.top_k}")
    for token in sampling.logit_bias:
        if not 0 <= token < vocab_size:
            raise InvalidOption("logit_bias", f"token id {token} is out of range (vocabulary size {vocab_size})")
    for name, (least, most) in SAMPLING_LIMITS.items():
        values = sampling.logit_bias.values() if name == "logit_bias" else [getattr(sampling, name)]
        for value in values:
            if not least <= value <= most:
                raise InvalidOption(name, f"must be from {least} to {most}, not {value}")
    if sampling.logprobs is not None and not 0 <= sampling.logprobs <= vocab_size:
        raise InvalidOption("logprobs", f"must be from 0 to {vocab_size}, not {sampling.logprobs}")
