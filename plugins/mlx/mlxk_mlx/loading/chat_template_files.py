"""Chat templates of a model, without its weights and without MLX."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlxk_core.api import Model
from mlxk_core.api.backends import Render
from mlxk_mlx.engine.chat_template import ChatTemplate
from mlxk_mlx.engine.template_process import RENDER_PROCESSES, TemplateRenderer

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
            id = model.gguf.metadata.get(f"tokenizer.ggml.{_GGUF_NAMES.get(name, name)}_token_id")
            text = texts.get(id) if isinstance(id, int) else None
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
    library = find_spec("mlx_lm")  # not the package of the templates: to find that would import MLX
    folders = library.submodule_search_locations if library is not None else None
    for folder in folders or ():
        path = Path(folder, "chat_templates", f"{kind}.py")
        if path.is_file():
            RENDER_PROCESSES.warm_up()
            return ChatTemplate.of_code(TemplateRenderer(RENDER_PROCESSES, str(path), {}, code=True))
    return None
