"""Memory that a model will take when it is loaded, and memory that is available."""

from __future__ import annotations

import os
from pathlib import Path

from mlxk_core.api.models import Model
from mlxk_mlx.loading import runtime

DENSE_SHARE = 0.5
"""Quantized weights are held dense when that takes at most this share of the available memory."""

_WORD, _USUAL_BITS = 32, 4
_HALVES = {"F16", "BF16"}
_FILE = "tokenizer.json"
_UNPACKED_METHODS = ("awq", "gptq")
_UNPACKED = 20
"""Bytes for each one of a packed matrix while it is unpacked: 16 were measured."""
_TOKENIZER_PROCESS = 72_000_000
_TOKENIZER_SHARE = 16
"""Bytes that a tokenizer's process takes without one, and for each byte of tokenizer.json."""


def estimate(model: Model) -> int:
    """Return the bytes that `model` takes when it is loaded, with the process of its tokenizer."""
    tokenizer = estimate_tokenizer(next((f.size for f in model.files if f.name == _FILE), 0))
    return estimate_weights(model) + _unpacking(model) + tokenizer


def _unpacking(model: Model) -> int:
    """Return the bytes that mlx-lm takes for a moment to bring weights of other tools into the form of MLX."""
    settings = model.config.get("quantization_config")
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    if method not in _UNPACKED_METHODS:
        return 0
    packed = (tensor.nbytes for tensor in model.weights.tensors.values() if tensor.dtype == "I32")
    return _UNPACKED * max(packed, default=0)


def estimate_tokenizer(size: int) -> int:
    """Return the bytes of a process whose tokenizer has a file of `size` bytes."""
    return _TOKENIZER_PROCESS + _TOKENIZER_SHARE * size


def estimate_weights(model: Model) -> int:
    """Return the bytes of the weights in the form that `materialize` would bring them into."""
    tensors = model.weights.tensors
    machine = runtime.machine()
    if not machine.cpu:
        return sum(tensor.nbytes for tensor in tensors.values())
    plain = sum(4 * tensor.size if tensor.dtype in _HALVES else tensor.nbytes for tensor in tensors.values())
    if not machine.fast_blas:
        return plain
    dense = sum(4 * _unpacked_size(model, layer) for layer in model.weights.packed)
    packed = sum(
        tensor.nbytes
        for layer in model.weights.packed
        for part in ("weight", "scales", "biases")
        if (tensor := tensors.get(f"{layer}.{part}")) is not None
    )
    whole = plain - packed + dense
    return whole if dense and dense <= DENSE_SHARE * available_memory() else plain


def _unpacked_size(model: Model, layer: str) -> int:
    """Return the number of weights in a packed layer, from the bits in its own or the model's settings."""
    settings = model.config.get("quantization") or model.config.get("quantization_config")
    own = settings.get(layer) if isinstance(settings, dict) else None
    source = own if isinstance(own, dict) else settings
    bits = source.get("bits") if isinstance(source, dict) else None
    if not isinstance(bits, int) or not 1 <= bits <= _WORD:
        bits = _USUAL_BITS
    return model.weights.tensors[f"{layer}.weight"].size * _WORD // bits


def available_memory() -> int:
    """Return the bytes that can be used without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
