"""Token budgets: how many tokens a request may generate, given the model's window and who asks."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from mlxk_core._errors import BrokenModel, ContextLengthExceeded, InvalidOption

if TYPE_CHECKING:
    from mlxk_core._models.model import Model

DEFAULT_CONTEXT = 4096
_LONGEST_NUMBER = 18  # digits; a text of thousands is no window, and Python refuses to read it

# In the order they are believed. `model_max_length` of the tokenizer's config is none of them: it is often 1e30.
_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "context_length",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "seq_len",
    "n_ctx",
)


class TokenPolicy(Enum):
    """Default token budget of a request that names no number."""

    FULL_CONTEXT = "full"
    """All of the context after the prompt: one person at a terminal."""
    HALF_CONTEXT = "half"
    """Half of the context, at most what is left after the prompt: a server with several clients."""


def context_length(config: Mapping[str, Any]) -> int | None:
    """The window a config names, at its top or for its text part; None if it names none above 0."""
    for holder in (config, config.get("text_config")):
        if isinstance(holder, Mapping):
            for key in _KEYS:
                if length := _positive(holder.get(key)):
                    return length
    return None


def model_context_length(model: Model) -> int:
    """The window of `model`, from its GGUF header or its config; 4096 if neither can tell."""
    try:
        if header := model.shared_gguf:
            named = _positive(header.metadata.get(f"{header.architecture}.context_length"))
        else:
            named = context_length(model.config)
    except BrokenModel:
        named = None
    return named or DEFAULT_CONTEXT


def budget(window: int, prompt: int, *, asked: int | None, policy: TokenPolicy) -> int:
    """The number of tokens to generate.

    `window` and `prompt` are in tokens. What was `asked` for holds as far as it fits behind the prompt; without it the
    policy decides. Raises `ContextLengthExceeded` when the prompt leaves no room, and `InvalidOption` when less than
    one token was asked for.
    """
    if asked is not None and asked < 1:
        raise InvalidOption("max_tokens", f"{asked} is less than 1.")
    left = window - prompt
    if left < 1:
        raise ContextLengthExceeded(prompt, window)
    if asked is not None:
        return min(asked, left)
    return left if policy is TokenPolicy.FULL_CONTEXT else min(max(window // 2, 1), left)


def _positive(value: object) -> int | None:
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
