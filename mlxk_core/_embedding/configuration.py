"""How a model embeds, according to its sentence-transformers files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlxk_core._errors import BrokenModel, InvalidOption, UnsupportedModel
from mlxk_core._generation.engine import Pooling
from mlxk_core._models.classify import Facts
from mlxk_core._models.model import Model
from mlxk_core._models.sentence_transformers import module_folders, read_json
from mlxk_core._models.token_budget import model_context_length

_MODES: Mapping[str, Pooling] = {
    # Of `pooling_mode`, and of the switches that sentence-transformers wrote before version 5.3.
    "lasttoken": "last",
    "mean": "mean",
    "cls": "cls",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
}
_MODULES = frozenset({"Transformer", "Pooling", "Normalize"})
_LONGEST_PROMPT = 1 << 14
"""Characters of a prefix: it is tokenized with each of 2,048 inputs."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfiguration:
    """Pooling, normalization, the longest input in tokens, and the prefixes of inputs by name.

    With `lower_case`, texts are lower-cased before they are tokenized. `embeds_prefix` is False for a model whose
    vectors leave out the tokens of the prefix.
    """

    pooling: Pooling
    normalize: bool
    max_tokens: int | None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    lower_case: bool = False
    embeds_prefix: bool = True

    def prefix(self, name: str | None) -> str:
        """Return the prefix called `name` (None: the model's default). Raises `InvalidOption` if there is none."""
        name = name if name is not None else self.default_prompt
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(sorted(self.prompts)) or "none"
            raise InvalidOption("prompt_name", f"the model has no prompt `{name}`; it has {known}")
        prefix = self.prompts[name]
        if prefix and not self.embeds_prefix:
            raise InvalidOption("prompt_name", "the model leaves prefixes out of its vectors, which is not supported")
        return prefix


def embedding_configuration(model: Model) -> EmbeddingConfiguration:
    """Return how `model` embeds. Raises `UnsupportedModel` if it does not embed, or in an unknown way."""
    facts = Facts(model)
    if facts.type != "embedding":
        hint = " It is a reranker: use /v1/rerank." if "rerank" in facts.capabilities else ""
        raise UnsupportedModel(f"`{model.name}` is not an embedding model.{hint}", model=model.name)
    modules = module_folders(model)
    if unknown := sorted(modules.keys() - _MODULES):
        raise UnsupportedModel(
            f"`{model.name}` cannot embed: modules.json has a module of type {unknown[0]}, which is not supported.",
            model=model.name,
        )
    sentence = read_json(model, "sentence_bert_config.json")
    prompts = read_json(model, "config_sentence_transformers.json")
    pooling = read_json(model, f"{modules['Pooling']}/config.json") if "Pooling" in modules else {}
    return EmbeddingConfiguration(
        pooling=_pooling(model, pooling) if "Pooling" in modules else _default_pooling(model),
        normalize="Normalize" in modules or not modules,
        max_tokens=longest_input(model, sentence),
        prompts=_prompts(model, prompts.get("prompts")),
        default_prompt=_text(prompts.get("default_prompt_name")),
        lower_case=sentence.get("do_lower_case") is True,
        embeds_prefix=pooling.get("include_prompt") is not False,
    )


def _prompts(model: Model, named: object) -> Mapping[str, str]:
    known = {name: text for name, text in named.items() if isinstance(text, str)} if isinstance(named, dict) else {}
    for name, text in known.items():
        if len(text) > _LONGEST_PROMPT:
            raise BrokenModel(
                f"Prompt {name[:100]} of `{model.name}` has {len(text):,} characters (at most {_LONGEST_PROMPT:,}).",
                model=model.name,
            )
    return known


def longest_input(model: Model, sentence: Mapping[str, Any]) -> int | None:
    """Return the longest input in tokens: the lowest limit of sentence-transformers' file, the tokenizer and the
    network; None if none has one."""
    limits = (
        sentence.get("max_seq_length"),
        model.tokenizer_config.get("model_max_length"),
        model_context_length(model),
    )
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)


def _pooling(model: Model, config: Mapping[str, Any]) -> Pooling:
    named = config.get("pooling_mode")
    modes = [str(each) for each in named] if isinstance(named, list) else [str(named)]
    if named is None:
        modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    if len(modes) != 1 or modes[0] not in _MODES:
        raise UnsupportedModel(
            f"`{model.name}` cannot embed: it pools by {', '.join(modes) or 'nothing'}; "
            "supported are cls, mean and lasttoken.",
            model=model.name,
        )
    return _MODES[modes[0]]


def _default_pooling(model: Model) -> Pooling:
    """Return the pooling of a model without sentence-transformers files: last token for decoders, mean for encoders."""
    return "last" if any("CausalLM" in name for name in Facts(model).classes) else "mean"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
