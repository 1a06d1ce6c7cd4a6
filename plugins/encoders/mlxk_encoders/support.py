"""Support of models by this backend, from their files and without MLX."""

from __future__ import annotations

from collections.abc import Mapping

from mlxk_core.api.hooks import Verdict
from mlxk_core.api.models import Model

ARCHITECTURES: Mapping[str, str] = {
    "bert": "mlxk_encoders.bert",
    "roberta": "mlxk_encoders.bert",
    "xlm-roberta": "mlxk_encoders.bert",
    "camembert": "mlxk_encoders.bert",
    "modernbert": "mlxk_encoders.modernbert",
    "nomic_bert": "mlxk_encoders.nomic_bert",
}
"""The module of this package for each `model_type`."""
_OTHERS = frozenset(
    {
        *("distilbert", "albert", "electra", "deberta", "deberta-v2", "mpnet", "xlm-roberta-xl", "new", "gte"),
        *("eurobert", "roformer", "xlm", "mobilebert", "squeezebert", "megatron-bert", "convbert", "t5"),
    }
)
_HEADS = ("Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification")


def accepts(model: Model) -> Verdict:
    """Return whether this backend runs `model`, with the reason if it does not."""
    if model.gguf_path is not None or not model.path.is_dir():
        return Verdict.foreign("a GGUF file, not a folder with safetensors")
    kind = model.config.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        if isinstance(kind, str) and kind in _OTHERS:
            return Verdict.no(f"model_type {kind} is not supported; supported encoders are {', '.join(ARCHITECTURES)}")
        return Verdict.foreign("not an encoder of the BERT kind")
    if reason := _other_network(model) or _other_head(model):
        return Verdict.no(reason)
    if not model.weights.present:
        return Verdict.no("no weight files (*.safetensors)")
    if model.weights.packer not in (None, "mlx"):
        return Verdict.no(f"its weights are quantized by {model.weights.packer}")
    return Verdict.yes()


def labels(model: Model) -> int | None:
    """Return the number of outputs of a model that classifies, None for any other."""
    if not any(name.endswith("ForSequenceClassification") for name in _classes(model)):
        return None
    names = model.config.get("id2label")
    number = len(names) if isinstance(names, Mapping) else model.config.get("num_labels", 2)
    return number if isinstance(number, int) else 2


def _other_network(model: Model) -> str | None:
    """Return what makes the network another one than its model type says."""
    config = model.config
    positions = config.get("position_embedding_type", "absolute")
    if positions != "absolute" and config.get("model_type") in ("bert", "roberta", "xlm-roberta", "camembert"):
        return f"position_embedding_type {positions} is not supported"
    if config.get("is_decoder") is True:
        return "it is a decoder, which needs another kind of attention"
    if config.get("num_experts") or config.get("moe_every_n_layers"):
        return "its layers are mixtures of experts, which are not supported"
    return None


def _other_head(model: Model) -> str | None:
    for name in _classes(model):
        if not name.endswith(_HEADS):
            return f"{name} neither embeds nor ranks"
    count = labels(model)
    if count is None:
        return None
    if model.config.get("model_type") == "nomic_bert":
        return "Nomic-BERT with a classifier is not supported"
    return None if count == 1 else f"it has {count} labels; a cross-encoder has one"


def _classes(model: Model) -> list[str]:
    named = model.config.get("architectures")
    return [each for each in named if isinstance(each, str)] if isinstance(named, list) else []
