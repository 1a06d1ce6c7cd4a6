"""The network of a model in the form to write, its weights still lazy."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.models.switch_layers import QuantizedSwitchLinear
from mlx_lm.utils import compute_bits_per_weight, dequantize_model, quantize_model

from mlxk_convert.weight_form import DTYPES, Quantization, WeightForm
from mlxk_core.api.errors import UnsupportedModel, UsageError
from mlxk_core.api.models import Model
from mlxk_mlx.loading.load import read_network, translated_errors

_QUANTIZED = (nn.QuantizedLinear, nn.QuantizedEmbedding, QuantizedSwitchLinear)


@dataclass(frozen=True, kw_only=True)
class Converted:
    """Weights to write, by name and not yet computed, with the config that describes them."""

    weights: dict[str, mx.array]
    config: dict[str, Any]
    bits_per_weight: float
    dtype: str | None
    """Type of the weights that are not quantized; None if it differs between layers."""
    has_vision_tower: bool
    unquantized: int = 0
    """Layers left unquantized because their width is not a multiple of the group size."""

    @property
    def size(self) -> int:
        """Bytes of all weights."""
        return sum(array.nbytes for array in self.weights.values())


def convert_weights(model: Model, form: WeightForm) -> Converted:
    """Return the weights of `model` in `form`. Raises `UnsupportedModel` and `UsageError`."""
    with translated_errors(model):
        network, config = read_network(model)
        dtype = form.dtype or _own_dtype(config)
        if dtype is not None:
            _cast(network, dtype)
            for key in ("torch_dtype", "dtype"):
                if key in config:
                    config[key] = dtype
        unquantized = 0
        if form.quantization is not None:
            unquantized = _too_narrow(network, form.quantization.group_size)
            network, config = _quantize(model, network, config, form.quantization)
        elif form.dequantize:
            network = _dequantize(model, network, config, dtype)
        config.pop("auto_map", None)  # the code that it names is not copied
        return Converted(
            weights=dict(tree_flatten(network.parameters())),
            config=config,
            bits_per_weight=round(float(compute_bits_per_weight(network)), 3),
            dtype=dtype,
            has_vision_tower="vision_tower" in getattr(network, "model", {}),
            unquantized=unquantized,
        )


def _own_dtype(config: dict[str, Any]) -> str | None:
    """Return the type that the model's config names, if MLX has it."""
    text = config.get("text_config")
    for source in (config, text if isinstance(text, dict) else {}):
        for key in ("torch_dtype", "dtype"):
            if source.get(key) in DTYPES:
                return str(source[key])
    return None


def _cast(network: Any, dtype: str) -> None:
    wanted = getattr(mx, dtype)
    may_cast = getattr(network, "cast_predicate", lambda name: True)

    def cast(name: str, array: mx.array) -> mx.array:
        return array.astype(wanted) if may_cast(name) and mx.issubdtype(array.dtype, mx.floating) else array

    network.update(tree_map_with_path(cast, network.parameters()))


def _quantize(model: Model, network: Any, config: dict[str, Any], how: Quantization) -> tuple[Any, dict[str, Any]]:
    before = _quantized_layers(network)
    predicate = None
    if how.recipe:
        try:
            predicate = mixed_quant_predicate_builder(how.recipe, network, how.group_size)
        except ValueError as error:
            raise UnsupportedModel(
                f"`{model.name}` cannot be converted: its layers are not those that --recipe {how.recipe} is for. "
                "Use --bits.",
                model=model.name,
            ) from error
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        network, config = quantize_model(
            network, config, how.group_size, how.bits, mode=how.mode, quant_predicate=predicate
        )
    if _quantized_layers(network) == before:
        if before:
            raise UsageError(
                f"`{model.name}` is already quantized ({_describe_quantization(config)}). `--dequantize` writes it "
                "with full weights, which can be quantized again."
            )
        raise UnsupportedModel(
            f"`{model.name}` cannot be quantized: the width of its layers is not a multiple of the group size "
            f"{how.group_size}.",
            model=model.name,
            group_size=how.group_size,
        )
    return network, config


def _dequantize(model: Model, network: Any, config: dict[str, Any], dtype: str | None) -> Any:
    if not _quantized_layers(network):
        raise UsageError(f"`{model.name}` is not quantized: --dequantize has nothing to do.")
    config.pop("quantization", None)
    config.pop("quantization_config", None)
    network = dequantize_model(network)
    if dtype is not None:
        _cast(network, dtype)
    return network


def _quantized_layers(network: Any) -> int:
    return sum(isinstance(module, _QUANTIZED) for _, module in network.named_modules())


def _too_narrow(network: Any, group_size: int) -> int:
    return sum(
        hasattr(module, "to_quantized") and module.weight.shape[-1] % group_size != 0
        for _, module in network.named_modules()
    )


def _describe_quantization(config: dict[str, Any]) -> str:
    declared = config.get("quantization") or {}
    return f"{declared.get('bits', '?')} bits, group size {declared.get('group_size', '?')}"
