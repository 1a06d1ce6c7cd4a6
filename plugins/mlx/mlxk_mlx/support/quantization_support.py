"""Support of weights that other tools have quantized, from the config, the headers and mlx-lm's source.

mlx-lm itself notices while it loads the model (`mlx_lm.utils.load_model`), and misreads the weights of a method that it
does not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlxk_core.api.errors import BrokenModel
from mlxk_core.api.models import MLX_METHOD, declared_quantization

if TYPE_CHECKING:
    from mlxk_core.api.models import Model

_COMPRESSED = ("pack-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized")
_NEIGHBOURS = re.compile(r"^from \.(\w*) import (.+)$", re.MULTILINE)


def refusal(model: Model, network: Path) -> str | None:
    """Return why mlx-lm cannot read the weights of `model`, or None. `network` is mlx-lm's module for it."""
    try:
        declaration = declared_quantization(model)
    except BrokenModel as error:
        return str(error)
    if declaration is None:
        return _why_undeclared(model, network)
    if declaration.method == MLX_METHOD or declaration.block_format:
        return None
    settings = declaration.settings
    match declaration.method:
        case None:
            return "quantization_config has no quant_method"
        case "gptq" | "awq" as method:
            return _integers(model, method, settings)
        case "fp8":
            if not _unpacks_fp8(network):
                return _fp8(network)
        case "compressed-tensors":
            if settings.get("format") not in _COMPRESSED:
                return (
                    f"its weights are compressed-tensors of format {settings.get('format')}, which mlx-lm does not read"
                )
        case "modelopt":
            return f"its weights are ModelOpt {settings.get('quant_algo')}; mlx-lm reads NVFP4 only"
        case "bitnet":
            return None
        case method:
            return f"its weights are quantized by {method}, which mlx-lm does not read"
    return None


def _why_undeclared(model: Model, network: Path) -> str | None:
    """Return why undeclared weights cannot be read: mlx-lm takes them for plain numbers."""
    if model.weights.plain:
        return None
    tensors = model.weights.tensors
    if packer := model.weights.packer:
        return f"its tensors are packed by {packer}, and config.json does not declare it"
    if any(tensor.dtype.startswith("F8_") for tensor in tensors.values()):
        has_scales = any(name.endswith("weight_scale_inv") for name in tensors)
        return None if has_scales and _unpacks_fp8(network) else _fp8(network)
    for name, tensor in tensors.items():
        if name.endswith(".weight") and len(tensor.shape) > 1 and tensor.dtype[0] in "IU":
            return f"{name} holds integers ({tensor.dtype}), and config.json does not declare a quantization"
    return None


def _fp8(network: Path) -> str:
    return f"its weights are in fp8, which mlx-lm does not unpack for model_type {network.stem}"


def _integers(model: Model, method: str, settings: Mapping[str, Any]) -> str | None:
    bits = settings.get("bits", 4)
    if bits != 4:
        return f"its weights are {method} with {bits} bits; mlx-lm reads 4 bits only"
    if any(name.endswith(".g_idx") for name in model.weights.tensors):
        return f"its {method} weights have reordered groups (g_idx), which mlx-lm does not read"
    return None


@cache
def _unpacks_fp8(network: Path) -> bool:
    """Return whether a network of mlx-lm, or one that it imports, unpacks fp8."""
    try:
        source = network.read_text(encoding="utf-8")
    except OSError:
        return False
    if "weight_scale_inv" in source:
        return True
    parts = {
        name for module, names in _NEIGHBOURS.findall(source) for name in ([module] if module else names.split(","))
    }
    return any(_unpacks_fp8(network.with_name(f"{name.strip()}.py")) for name in parts)
