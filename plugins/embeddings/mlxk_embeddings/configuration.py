"""How a model embeds, according to its sentence-transformers files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlxk_core.api import Model
from mlxk_core.api.backends import Pooling
from mlxk_core.api.errors import BrokenModel, InvalidOption, UnsupportedModel
from mlxk_core.api.models import Facts, model_context_length

_MODES: Mapping[str, Pooling] = {
    "pooling_mode_lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
}
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfiguration:
    """Pooling, normalization, the longest input in tokens, and the prefixes of inputs by name."""

    pooling: Pooling
    normalize: bool
    max_tokens: int | None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None

    def prefix(self, name: str | None) -> str:
        """Return the prefix called `name` (None: the model's default). Raises `InvalidOption` if there is none."""
        name = name if name is not None else self.default_prompt
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(sorted(self.prompts)) or "none"
            raise InvalidOption("prompt_name", f"the model has no prompt `{name}`; it has {known}")
        return self.prompts[name]


def embedding_configuration(model: Model) -> EmbeddingConfiguration:
    """Return how `model` embeds. Raises `UnsupportedModel` for other models, and for unknown ways to embed."""
    if Facts(model).type != "embedding":
        raise UnsupportedModel(f"`{model.name}` is not an embedding model.", model=model.name)
    if model.config.get("is_causal") is False or model.config.get("use_bidirectional_attention"):
        raise UnsupportedModel(
            f"`{model.name}` needs attention to later tokens, which is not supported.", model=model.name
        )
    modules = _modules(model)
    prompts = _read(model, "config_sentence_transformers.json")
    known: Any = prompts.get("prompts")
    return EmbeddingConfiguration(
        pooling=_pooling(model, modules),
        normalize="Normalize" in modules or not modules,
        max_tokens=_max_tokens(model),
        prompts={k: v for k, v in known.items() if isinstance(v, str)} if isinstance(known, dict) else {},
        default_prompt=prompts.get("default_prompt_name") or None,
    )


def _modules(model: Model) -> Mapping[str, str]:
    """The modules of `modules.json` by kind, with their folders; empty without the file."""
    listed = _read(model, "modules.json", default=[])
    modules: dict[str, str] = {}
    for module in listed if isinstance(listed, list) else []:
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind not in _KNOWN_MODULES:
            raise UnsupportedModel(
                f"`{model.name}` has a module of type {kind} after the network, which is not supported.",
                model=model.name,
            )
        modules[kind] = str(module.get("path", ""))
    return modules


def _pooling(model: Model, modules: Mapping[str, str]) -> Pooling:
    if "Pooling" not in modules:
        # Without the files of sentence-transformers: decoders use the last token, encoders the mean.
        return "last" if "CausalLM" in " ".join(map(str, model.config.get("architectures") or ())) else "mean"
    config = _read(model, f"{modules['Pooling']}/config.json")
    modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    if len(modes) != 1 or modes[0] not in _MODES:
        raise UnsupportedModel(
            f"`{model.name}` pools by {', '.join(modes) or 'nothing'}, which is not supported.", model=model.name
        )
    return _MODES[modes[0]]


def _max_tokens(model: Model) -> int | None:
    longest = _read(model, "sentence_bert_config.json").get("max_seq_length")
    limits = [limit for limit in (longest, model_context_length(model)) if isinstance(limit, int) and limit > 0]
    return min(limits, default=None)


def _read(model: Model, name: str, default: Any = None) -> Any:
    path = model.path / name
    if not path.is_file():
        return {} if default is None else default
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise BrokenModel(f"{name} of `{model.name}` is not JSON: {error}", model=model.name) from None
