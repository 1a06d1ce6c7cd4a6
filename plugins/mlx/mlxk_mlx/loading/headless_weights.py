"""Weights of a decoder that was saved without its output layer, as embedding models are."""

from __future__ import annotations

from typing import Any

from mlxk_core.api.models import Model

_PREFIX = "model."


def settings(model: Model) -> dict[str, Any]:
    """Return the settings to add to the config of `model`.

    Qwen3-Embedding has `layers.0.…` where mlx-lm expects `model.layers.0.…`, and no `lm_head` although its config does
    not tie it to the input embeddings: nothing reads its logits, so the input embeddings serve for them.
    """
    tied = _lacks_prefix(model) and "lm_head.weight" not in model.weights.tensors
    return {"tie_word_embeddings": True} if tied else {}


def classes(model: Model, config: dict[str, Any]) -> Any:
    """Return mlx-lm's classes of a network with `config` and of its arguments, for the names that the weights of
    `model` have."""
    from mlx_lm.utils import _get_classes

    network, arguments = _get_classes(config)
    if not _lacks_prefix(model):
        return network, arguments
    rest = getattr(network, "sanitize", None)

    def sanitize(self: Any, weights: dict[str, Any]) -> dict[str, Any]:
        named = {name if name.startswith("lm_head.") else _PREFIX + name: array for name, array in weights.items()}
        return rest(self, named) if rest is not None else named

    return type(network.__name__, (network,), {"sanitize": sanitize, "__module__": network.__module__}), arguments


def _lacks_prefix(model: Model) -> bool:
    names = model.weights.tensors
    return "embed_tokens.weight" in names and not any(name.startswith(_PREFIX) for name in names)
