"""Quantization of GGUF models: the variants by name, and details from the header of a single one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from mlxk_core.api import GGUFHeader, Model, Quantization, Variant
from mlxk_core.api.errors import BrokenModel
from mlxk_core.api.models import GGUF_BLOCKS

GGUF = "gguf"
_MOST_NAMES = 3
# `general.file_type` (llama.cpp, include/llama.h: llama_ftype), for files whose name does not tell.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
}  # fmt: skip


def detect(model: Model) -> Iterable[Quantization]:
    """Yield one result for all GGUF files of the model."""
    variants = model.variants
    if not variants:
        return
    single = model.gguf_variant
    header = _header(model) if single else None
    yield Quantization(
        format="gguf",
        label=_encoding(single, header) if single else _list_names(variants),
        method=GGUF,
        mode=GGUF,
        bits_per_weight=_bits_per_weight(header) if single and single.shards == 1 else None,
        variants=variants,
        notes=tuple(_incomplete(variants)),
    )


def _header(model: Model) -> GGUFHeader | None:
    try:
        return model.gguf
    except BrokenModel:  # health reports it
        return None


def _encoding(variant: Variant, header: GGUFHeader | None) -> str:
    """Return the variant's name, or the type in the header if the name is only the file's."""
    if not variant.files or variant.name != str(PurePosixPath(variant.files[0]).with_suffix("")):
        return variant.name
    if header is None:
        return GGUF
    named = header.metadata.get("general.file_type")
    if isinstance(named, int) and named in _FILE_TYPES:
        return _FILE_TYPES[named]
    stored = Counter[str]()
    for tensor in header.tensors:
        stored[tensor.type] += tensor.size or 0
    return next((kind for kind, _ in stored.most_common(1)), GGUF)


def _list_names(variants: tuple[Variant, ...]) -> str:
    names = [variant.name for variant in variants]
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    return f"{len(names)} variants ({names[0]} … {names[-1]})"


def _bits_per_weight(header: GGUFHeader | None) -> float | None:
    if header is None or any(tensor.type not in GGUF_BLOCKS for tensor in header.tensors):
        return None
    weights = sum(tensor.elements for tensor in header.tensors)
    return round(sum(tensor.size or 0 for tensor in header.tensors) * 8 / weights, 2) if weights else None


def _incomplete(variants: tuple[Variant, ...]) -> Iterable[str]:
    for variant in variants:
        if not variant.complete:
            yield f"{variant.name} is incomplete: {len(variant.files)} of {variant.shards} files found."
