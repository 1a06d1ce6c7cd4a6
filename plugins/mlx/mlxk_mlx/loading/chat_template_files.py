"""Chat templates of a model, without its weights and without MLX."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from mlxk_core.api import Model
from mlxk_core.api.backends import Render
from mlxk_mlx.engine.chat_template import ChatTemplate

_SPECIAL = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_GGUF_NAMES = {"unk": "unknown", "sep": "seperator", "pad": "padding"}


def chat_template(model: Model, special_tokens: Mapping[str, Any]) -> ChatTemplate:
    """Return the templates of `model`, which see `special_tokens` (`bos_token` and so on)."""
    return _code_template(model) or ChatTemplate.of(model.chat_templates, special_tokens)


def renderer(model: Model) -> Render:
    """Return what renders conversations as the engine of `model` does; its special tokens come from the files."""
    return chat_template(model, _special_tokens(model)).render


def _special_tokens(model: Model) -> dict[str, str]:
    found = {}
    texts = {token.id: token.text for token in model.added_tokens.values()}
    for name in _SPECIAL:
        if model.gguf:
            text = texts.get(model.gguf.metadata.get(f"tokenizer.ggml.{_GGUF_NAMES.get(name, name)}_token_id", -1))
        else:
            value = model.tokenizer_config.get(f"{name}_token")
            text = value.get("content") if isinstance(value, Mapping) else value
        if isinstance(text, str):
            found[f"{name}_token"] = text
    return found


def _code_template(model: Model) -> ChatTemplate | None:
    """Return the template of a model type for which mlx-lm has Python code instead (DeepSeek-V3.2)."""
    if model.settings.chat_template is not None:
        return None
    kind = model.tokenizer_config.get("chat_template_type")
    if not isinstance(kind, str) or not kind.isidentifier():
        return None
    try:
        module = importlib.import_module(f"mlx_lm.chat_templates.{kind}")
    except ImportError:
        return None

    def apply(variables: Mapping[str, Any]) -> str:
        given = {name: value for name, value in variables.items() if value is not None}
        return str(module.apply_chat_template(given.pop("messages"), **given))

    return ChatTemplate.of_code(apply)
