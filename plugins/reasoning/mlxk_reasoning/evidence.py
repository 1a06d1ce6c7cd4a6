"""Evidence for a model's format, from its files: the chat template first, then the vocabulary, then the name.

One function judges all rows together, so that no two of ours claim a model with the same strength.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from mlxk_core.api import Evidence, Strength
from mlxk_reasoning.formats import BLOCK_FORMATS

if TYPE_CHECKING:
    from mlxk_core.api import Model

HARMONY = "harmony"
HARMONY_TOKENS = ("<|channel|>", "<|message|>")


def evidence(model: Model, name: str) -> Evidence | None:
    """Why format `name` fits `model`, if of all formats here it is the one that does."""
    chosen, why = choose(model)
    return why if chosen == name else None


def choose(model: Model) -> tuple[str, Evidence | None]:
    """The format that fits `model` best, and why; an empty name if none does."""
    name, why = _by_template(model.chat_template or "")
    for read in (_by_vocabulary, _by_hint):
        if why is None:
            name, why = read(model)
    return name, why


def writes_harmony(model: Model) -> bool:
    """Whether the model has the tokens of harmony."""
    return _has_all(model.chat_template or "", HARMONY_TOKENS) or all(t in model.added_tokens for t in HARMONY_TOKENS)


@lru_cache(maxsize=4)  # every format asks about the same template
def _by_template(template: str) -> tuple[str, Evidence | None]:
    if _has_all(template, HARMONY_TOKENS):
        return HARMONY, _because(Strength.TEMPLATE, "the chat template writes", HARMONY_TOKENS)
    for row in BLOCK_FORMATS:
        for signs in row.signs:
            if _has_all(template, signs):
                return row.name, _because(Strength.TEMPLATE, "the chat template writes", signs)
    return "", None


def _by_vocabulary(model: Model) -> tuple[str, Evidence | None]:
    known = model.added_tokens
    for name, tokens in ((HARMONY, HARMONY_TOKENS), *((row.name, row.tokens) for row in BLOCK_FORMATS)):
        if tokens and all(map(known.__contains__, tokens)):
            return name, _because(Strength.VOCABULARY, "the vocabulary has", tokens)
    return "", None


def _by_hint(model: Model) -> tuple[str, Evidence | None]:
    """Return weak evidence: the architecture, or the name of a gpt-oss model without a template."""
    architecture = model.config.get("model_type")
    for row in BLOCK_FORMATS:
        if architecture in row.architectures:
            return row.name, Evidence(Strength.NAME, f"the model's type is {architecture}")
    if model.chat_template:
        return "", None
    if architecture == "gpt_oss":
        return HARMONY, Evidence(Strength.NAME, "the model's type is gpt_oss")
    name = model.name.lower().replace("_", "-")
    for hint in ("gpt-oss", "mxfp4"):
        if hint in name:
            return HARMONY, Evidence(Strength.NAME, f"the model's name says {hint} and there is no chat template")
    quantization = model.config.get("quantization_config")
    if isinstance(quantization, Mapping) and quantization.get("quant_method") == "mxfp4":
        return HARMONY, Evidence(Strength.NAME, "its weights came as mxfp4 and there is no chat template")
    return "", None


def _has_all(text: str, words: tuple[str, ...]) -> bool:
    return all(word in text for word in words)


def _because(strength: Strength, what: str, words: tuple[str, ...]) -> Evidence:
    return Evidence(strength, f"{what} {' and '.join(words)}")
