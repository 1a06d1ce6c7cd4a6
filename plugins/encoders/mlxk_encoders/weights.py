"""The network of a model with its weights, from safetensors under any of the usual names."""

from __future__ import annotations

import importlib
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.utils import infer_quant_config

from mlxk_core.api.errors import BrokenModel, UnsupportedModel
from mlxk_core.api.models import Model
from mlxk_encoders.layers import Encoder
from mlxk_encoders.model_config import ModelConfig
from mlxk_encoders.support import ARCHITECTURES, labels
from mlxk_mlx.loading.weight_files import read_arrays


def read_network(model: Model) -> Encoder:
    """Return the network of `model`, its arrays not read yet.

    Raises `BrokenModel` if tensors are missing or have other shapes, `UnsupportedModel` if some belong to parts that
    the network does not have.
    """
    module = importlib.import_module(ARCHITECTURES[str(model.config["model_type"])])
    count = labels(model)
    weights = _read(model, module, classifies=count is not None)
    network: Encoder = module.Network(ModelConfig(model.config, model.name), count)
    _quantize(network, weights)
    expected = dict(tree_flatten(network.parameters()))
    if missing := sorted(expected.keys() - weights.keys()):
        raise BrokenModel(f"The weights of `{model.name}` lack {_summarize(missing)}.", model=model.name)
    if unknown := sorted(weights.keys() - expected.keys()):
        raise UnsupportedModel(
            f"`{model.name}` has weights that its architecture does not: {_summarize(unknown)}.", model=model.name
        )
    for name, array in expected.items():
        if weights[name].shape != array.shape:
            raise BrokenModel(
                f"config.json of `{model.name}` does not fit its weights: {name} has the shape "
                f"{list(weights[name].shape)}, expected {list(array.shape)}.",
                model=model.name,
            )
    network.load_weights(list(weights.items()))
    network.eval()
    return network


def _read(model: Model, module: Any, *, classifies: bool) -> dict[str, mx.array]:
    weights: dict[str, mx.array] = {}
    for file in model.weights.headers:
        for original, array in read_arrays(model.path / file).items():
            name = module.rename(original)
            if module.is_unused(name, classifies=classifies):
                continue
            if name in weights:
                raise BrokenModel(f"`{model.name}` has {name} twice in its weights.", model=model.name, file=file)
            weights[name] = array
    merge = getattr(module, "merge", None)
    return merge(weights) if merge is not None else weights


def _quantize(network: nn.Module, weights: dict[str, mx.array]) -> None:
    def parameters(path: str, layer: nn.Module) -> bool | dict[str, Any]:
        if not hasattr(layer, "to_quantized") or f"{path}.scales" not in weights:
            return False
        return infer_quant_config(path, layer, weights)

    if any(name.endswith(".scales") for name in weights):
        nn.quantize(network, class_predicate=parameters)


def _summarize(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
