"""The network of a GGUF model, built with mlx-lm's module for its architecture."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxk_core.api.errors import BrokenModel
from mlxk_gguf.config import network_config
from mlxk_gguf.files import GGUFFiles
from mlxk_gguf.support import ROPE_FACTORS
from mlxk_gguf.weights import Weights, read_weights
from mlxk_mlx.loading import runtime


def build_network(files: GGUFFiles, alive: Callable[[], None]) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network with its weights, not evaluated, and its configuration.

    Raises `BrokenModel` if settings and tensors do not fit.
    """
    try:
        config = network_config(files)
        weights = read_weights(files, alive)
        return _build(config, weights), config
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError) as error:
        name = files.parts[0].path.name
        raise BrokenModel(f"{name} does not fit the architecture {files.architecture}: {error}", file=name) from error


def _build(config: dict[str, Any], weights: Weights) -> nn.Module:
    factors = weights.pop(ROPE_FACTORS, None)
    module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    network = module.Model(module.ModelArgs.from_dict(config))
    sanitize = getattr(network, "sanitize", lambda unchanged: unchanged)
    weights = sanitize(_of_one_type(weights))
    config["quantization"] = _quantize(network, weights)
    network.load_weights(list(weights.items()), strict=True)
    if factors is not None:
        rope = ScaledRoPE(config["head_dim"], config["rope_theta"], factors)
        for layer in network.layers:
            if isinstance(layer.self_attn.rope, nn.RoPE):
                layer.self_attn.rope = rope
    return network


class ScaledRoPE(nn.Module):
    """Rotary embedding with a factor for each wavelength, as GGUF files of Llama 3.1 store it.

    `factors: mx.array, shape [dims / 2], float32`.
    """

    def __init__(self, dims: int, base: float, factors: mx.array) -> None:
        super().__init__()
        self.dims = dims
        self._freqs = base ** (mx.arange(0, dims, 2, dtype=mx.float32) / dims) * factors.astype(mx.float32)

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        return mx.fast.rope(x, self.dims, traditional=False, base=None, scale=1.0, offset=offset, freqs=self._freqs)


def _of_one_type(weights: Weights) -> Weights:
    """Return all floating-point arrays in one type: norms in float32 among float16 would make every product float32.

    A CPU computes in float32 (`mlxk_mlx.loading.weight_layout`). Scales are converted before dequantization, which
    takes 3.5 times as long in float16, and rounds.
    """
    if runtime.start().cpu:
        kind = mx.float32
    elif any(array.dtype == mx.float16 for array in weights.values()):
        kind = mx.float16
    else:
        return weights
    return {
        name: array.astype(kind) if mx.issubdtype(array.dtype, mx.floating) else array
        for name, array in weights.items()
    }


def _quantize(network: nn.Module, weights: Weights) -> dict[str, Any]:
    """Quantize the layers whose weights are packed, and return the `quantization` of a `config.json`.

    A file mixes types (the embedding usually has more bits), so each layer's packing follows from its arrays: `weight`
    of shape [outputs, inputs * bits / 32] and `scales` of shape [outputs, inputs / group_size].
    """
    packing: dict[str, Any] = {}

    def pack(path: str, layer: nn.Module) -> bool | dict[str, Any]:
        if not {f"{path}.scales", f"{path}.weight"} <= weights.keys() or not hasattr(layer, "to_quantized"):
            return False
        width, packed = layer.weight.shape[-1], weights[f"{path}.weight"].shape[-1]
        found = {"group_size": width // weights[f"{path}.scales"].shape[-1], "bits": 32 * packed // width}
        packing[path] = found
        return found

    nn.quantize(network, class_predicate=pack)
    return packing
