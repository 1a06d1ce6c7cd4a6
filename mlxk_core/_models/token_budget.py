"""Token budgets: the context length of a model, and how many tokens a request may generate."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from mlxk_core._errors import BrokenModel, ContextLengthExceeded, InvalidOption

if TYPE_CHECKING:
    from mlxk_core._models.model import Model

UNKNOWN_CONTEXT = 4096
"""Tokens to generate by default where a model's files do not give its context length."""
_LONGEST_NUMBER = 18  # digits; Python refuses to read a number of thousands, or to multiply it by a factor
_LARGEST_FACTOR = 1 << 16

# By precedence. `model_max_length` of the tokenizer's config is left out: it is often 1e30.
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
    """Default token budget of a request without `max_tokens`."""

    FULL_CONTEXT = "full"
    """All of the context after the prompt: one person at a terminal."""
    HALF_CONTEXT = "half"
    """Half of the context, at most what is left after the prompt: a server with several clients."""
    NO_LIMIT = "unlimited"
    """All of the context after the prompt, also where the settings limit answers: the client said so."""


# Rotary scalings whose factor is not in `max_position_embeddings` yet. llama3 and longrope have it there already.
_SCALED = frozenset({"linear", "dynamic"})
# Their first position is the one after that of the padding token, so a table of 514 positions reads 512 tokens.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert"})
# Gemma 3's config and GGUF header give the context after scaling (vllm, config/model.py, says the same).
_ALREADY_SCALED = ("gemma3",)


def context_length(config: Mapping[str, Any]) -> int | None:
    """Return the context length in tokens that a `config.json` gives, rotary scaling included; None if it has none.

    yarn extends the original context by its factor, linear and dynamic scaling the one the config gives.
    """
    for holder in (config, config.get("text_config")):
        if isinstance(holder, Mapping):
            for key in _KEYS:
                if length := _positive(holder.get(key)):
                    kind = str(holder.get("model_type"))
                    return _scale(max(1, length - _first_position(holder, kind)), _rope_scaling(holder), kind)
    return None


def _first_position(config: Mapping[str, Any], kind: str) -> int:
    padding = config.get("pad_token_id")
    return (padding if isinstance(padding, int) else 1) + 1 if kind in _OFFSET_POSITIONS else 0


def model_context_length(model: Model) -> int | None:
    """Return the context length of `model` in tokens, from its GGUF header or its config, and at most what the user's
    settings allow; None if neither gives one."""
    limit, own = model.settings.context_length, _own_context_length(model)
    return own if limit is None else min(limit, own or limit)


def _own_context_length(model: Model) -> int | None:
    try:
        if header := model.shared_gguf:
            architecture = str(header.architecture)
            length = _positive(header.metadata.get(f"{architecture}.context_length"))
            return _scale(length, _gguf_scaling(header.metadata, architecture), architecture) if length else None
        return context_length(model.config)
    except BrokenModel:
        return None


def _rope_scaling(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the scaling, also from where transformers 5 puts it: `rope_parameters`, perhaps by type of layer."""
    for key in ("rope_scaling", "rope_parameters"):
        scaling = config.get(key)
        if isinstance(scaling, Mapping):
            full = scaling.get("full_attention")
            return full if isinstance(full, Mapping) else scaling
    return {}


def _gguf_scaling(metadata: Mapping[str, Any], architecture: str) -> Mapping[str, Any]:
    prefix = f"{architecture}.rope.scaling."
    scaling = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
    return {**scaling, "original_max_position_embeddings": scaling.get("original_context_length")}


def _scale(length: int, scaling: Mapping[str, Any], architecture: str) -> int:
    factor = scaling.get("factor")
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor < _LARGEST_FACTOR:
        return length
    if architecture.startswith(_ALREADY_SCALED):
        return length
    kind = scaling.get("rope_type") or scaling.get("type")
    if kind == "yarn":
        return int((_positive(scaling.get("original_max_position_embeddings")) or length) * factor)
    return int(length * factor) if isinstance(kind, str) and kind in _SCALED else length


def budget(window: int | None, prompt: int, *, asked: int | None, policy: TokenPolicy) -> int:
    """Return the number of tokens to generate.

    `window` (None: unknown) and `prompt` are in tokens. The number `asked` for is lowered to the room after the prompt;
    without one the policy decides; 0 generates nothing, so that the prompt may fill the context. Raises
    `ContextLengthExceeded` when the prompt leaves no room, and `InvalidOption` for a negative number.
    """
    if asked is not None and asked < 0:
        raise InvalidOption("max_tokens", f"must be 0 or more, not {asked}")
    if asked == 0:
        if window is not None and prompt > window:
            raise ContextLengthExceeded(prompt, window)
        return 0
    if window is None:
        return asked or UNKNOWN_CONTEXT
    left = window - prompt
    if left < 1:
        raise ContextLengthExceeded(prompt, window)
    if asked is not None:
        return min(asked, left)
    return min(max(window // 2, 1), left) if policy is TokenPolicy.HALF_CONTEXT else left


def _positive(value: object) -> int | None:
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value < 10**_LONGEST_NUMBER else None
