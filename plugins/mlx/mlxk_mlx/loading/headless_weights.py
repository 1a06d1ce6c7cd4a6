"""Weights of a decoder that was saved without its output layer, as embedding models are."""

from __future__ import annotations

from typing import Any

from mlxk_core.api.models import Model

_PREFIX = "model."


def options(model: Model) -> dict[str, Any]:
    """Return the arguments for `mlx_lm.utils.load_model` with which it reads the weights; empty for usual names.

    Qwen3-Embedding has `layers.0.…` where mlx-lm expects `model.layers.0.…`, and no `lm_head` although its config does
    not tie it to the input embeddings: nothing reads its logits, so the input embeddings serve for them.
    """
    names = model.weights.tensors
    if "embed_tokens.weight" not in names or any(name.startswith(_PREFIX) for name in names):
        return {}
    tied = {} if "lm_head.weight" in names else {"tie_word_embeddings": True}
    return {"model_config": tied, "get_model_classes": _with_prefix}


def _with_prefix(config: dict[str, Any]) -> Any:
    from mlx_lm.utils import _get_classes

    network, arguments = _get_classes(config)
    rest = getattr(network, "sanitize", None)

    def sanitize(self: Any, weights: dict[str, Any]) -> dict[str, Any]:
        named = {name if name.startswith("lm_head.") else _PREFIX + name: array for name, array in weights.items()}
        return rest(self, named) if rest is not None else named

    return type(network.__name__, (network,), {"sanitize": sanitize}), arguments
