"""Quantization formats of the PyTorch ecosystem: GPTQ, AWQ, bitsandbytes, fp8 and others, or plain numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mlxk_core.api import Model, Quantization
from mlxk_core.api.errors import BrokenModel
from mlxk_core.api.models import MLX_METHOD, QuantizationDeclaration, declared_quantization, weight_format

_PLAIN = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8", "I8": "int8"}
_DTYPES = {"float64": "fp64", "float32": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16"}
_BITS = {"fp64": 64, "fp32": 32, "fp16": 16, "bf16": 16, "fp8": 8, "int8": 8}
UNKNOWN = "unknown"
_LARGEST = 1 << 20
"""Above every number of bits and group size. A config may have any number."""


def detect(model: Model) -> Iterable[Quantization]:
    """Yield one result for safetensors and one for pickled files, none for weights packed by MLX or for GGUF alone."""
    try:
        declaration = declared_quantization(model)
    except BrokenModel:  # health reports it; the tensors are still readable
        declaration = None
    formats = {weight_format(file.name) for file in model.files}
    pickled, gguf = "pytorch" in formats, "gguf" in formats
    if not _packed_by_mlx(model, declaration) and (model.weights.present or (declaration and not pickled and not gguf)):
        yield _safetensors(model, declaration)
    if pickled:
        yield _describe_pickled(model, declaration)


def _packed_by_mlx(model: Model, declaration: QuantizationDeclaration | None) -> bool:
    if declaration is None:
        return any(model.weights.packed)
    return declaration.method == MLX_METHOD or declaration.block_format is not None


def _safetensors(model: Model, declaration: QuantizationDeclaration | None) -> Quantization:
    if declaration:
        return _describe(model, declaration)
    if packer := model.weights.packer:
        note = f"config.json declares no quantization, but the tensors are packed by {packer}."
        return Quantization(format="safetensors", label=packer, method=packer, mode=packer, notes=(note,))
    stored, named = _dtype_of_tensors(model), _dtype_of_config(model)
    disagree = f"config.json declares {named}, but most tensors are stored as {stored}; using the stored type."
    label = stored or named or UNKNOWN
    bits = _BITS.get(label)
    return Quantization(
        format="safetensors",
        label=label,
        bits=bits,
        bits_per_weight=model.weights.bits_per_weight(lambda layer: None) if stored else None,
        notes=(disagree,) if stored and named and stored != named else (),
    )


def _describe_pickled(model: Model, declaration: QuantizationDeclaration | None) -> Quantization:
    """Describe pickled files by the config alone: pickles are programs and are never opened."""
    if declaration and declaration.method != MLX_METHOD:
        mode, bits, group, label = _words(declaration)
        return Quantization(
            format="pytorch",
            label=label,
            method=declaration.method or UNKNOWN,
            mode=mode,
            bits=bits,
            group_size=group,
        )
    label = _dtype_of_config(model) or UNKNOWN
    return Quantization(format="pytorch", label=label, bits=_BITS.get(label))


def _describe(model: Model, declaration: QuantizationDeclaration) -> Quantization:
    mode, bits, group, label = _words(declaration)
    notes = []
    if declaration.method is None:
        notes.append(f"{declaration.place} has no quant_method, so the packing of the weights is unknown.")
    if model.weights.plain:
        notes.append(declaration.none_packed)
    return Quantization(
        format="safetensors",
        label=label,
        method=declaration.method or UNKNOWN,
        mode=mode,
        bits=bits,
        group_size=group,
        bits_per_weight=model.weights.bits_per_weight(lambda layer: bits),
        notes=tuple(notes),
    )


def _words(declaration: QuantizationDeclaration) -> tuple[str | None, float | None, int | None, str]:
    """Return mode, bits, group size and label of a method."""
    settings = declaration.settings
    method = declaration.method
    bits: int | None
    match method:
        case None:
            return None, None, None, UNKNOWN
        case "gptq" | "awq":
            bits = _number(settings, "bits", "w_bit") or 4
            return method, bits, _number(settings, "group_size", "q_group_size"), f"int{bits} ({method})"
        case "bitsandbytes":
            four = settings.get("load_in_4bit") or settings.get("_load_in_4bit")
            kind = str(settings.get("bnb_4bit_quant_type") or "fp4") if four else "int8"
            return method, 4 if four else 8, None, f"{kind} ({method})"
        case "fp8":
            block = settings.get("weight_block_size")
            sizes = [str(settings.get("fmt") or "e4m3")]
            if isinstance(block, list) and block:
                sizes.append("block " + "x".join(str(size) for size in block))
            return "fp8", 8, None, f"fp8 ({', '.join(sizes)})"
        case "compressed-tensors":
            return _read_compressed(settings)
        case "modelopt":
            algorithm = str(settings.get("quant_algo") or "")
            bits = _digits(algorithm)
            kind = algorithm.lower() if algorithm.upper().startswith("FP") else f"int{bits}" if bits else ""
            group = _number(settings, "group_size") or None
            return kind or None, bits, group, f"{kind or algorithm.lower() or UNKNOWN} (modelopt)"
        case "bitnet":
            return method, 1.58, None, "ternary (bitnet)"
    bits = _number(settings, "bits", "nbits", "num_bits", "w_bit")
    return method, bits, _number(settings, "group_size"), f"int{bits} ({method})" if bits else method


def _read_compressed(settings: Mapping[str, Any]) -> tuple[str | None, float | None, int | None, str]:
    weights: Mapping[str, Any] = {}
    groups = settings.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        if isinstance(group, Mapping) and isinstance(group.get("weights"), Mapping):
            weights = group["weights"]
            break
    floats = "float" in str(settings.get("format")) or weights.get("type") == "float"
    bits = _number(weights, "num_bits") or (8 if floats else None)
    kind = (f"fp{bits}" if floats else f"int{bits}") if bits else str(settings.get("format") or UNKNOWN)
    mode = kind if floats else "affine" if bits else None
    return mode, bits, _number(weights, "group_size"), f"{kind} (compressed-tensors)"


def _number(settings: Mapping[str, Any], *keys: str) -> int | None:
    for key in keys:
        value = settings.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST:
            return value
    return None


def _digits(algorithm: str) -> int | None:
    found = re.search(r"(?:FP|INT|W)(\d{1,3})", algorithm.upper())
    return int(found.group(1)) if found else None


def _dtype_of_tensors(model: Model) -> str | None:
    """Return the number type of most bytes; the config may declare another one."""
    stored: Counter[str] = Counter()
    for tensor in model.weights.tensors.values():
        stored[tensor.dtype] += tensor.nbytes
    return next((_PLAIN.get(dtype, UNKNOWN) for dtype, _ in stored.most_common(1)), None)


def _dtype_of_config(model: Model) -> str | None:
    try:
        config = model.config
    except BrokenModel:
        return None
    for holder in (config, config.get("text_config")):
        if isinstance(holder, Mapping):
            value = holder.get("dtype") or holder.get("torch_dtype")
            if isinstance(value, str):
                return _DTYPES.get(value.removeprefix("torch."))
    return None
