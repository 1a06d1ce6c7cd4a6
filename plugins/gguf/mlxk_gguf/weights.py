"""Weights of GGUF files under the names and in the row order that mlx-lm's modules expect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx

from mlxk_core.api.errors import BrokenModel, UnsupportedModel
from mlxk_gguf.excerpts import Slice, excerpts, rows
from mlxk_gguf.files import GGUFFiles, Part
from mlxk_gguf.support import ARCHITECTURES, ROPE_FACTORS, hf_name

Weights = dict[str, mx.array]


def read_weights(files: GGUFFiles, alive: Callable[[], None]) -> Weights:
    """Return all tensors by mlx-lm's names; quantized ones as `.weight`, `.scales` and `.biases`.

    Llama 3's rope factors keep GGUF's name. `alive` is called for each few million numbers.
    """
    architecture = ARCHITECTURES[files.architecture]
    heads = {
        "self_attn.q_proj": files.value("attention.head_count"),
        "self_attn.k_proj": files.value("attention.head_count_kv", files.value("attention.head_count")),
    }
    weights: Weights = {}
    for part in files.parts:
        for name, array in _read(part, alive):
            ours = name if name == ROPE_FACTORS else hf_name(name, architecture)
            if ours is None:
                raise UnsupportedModel(f"{part.path.name} has an unknown tensor for {files.architecture}: {name}.")
            if architecture.interleaved:
                for projection, count in heads.items():
                    if projection in ours:
                        array = _separate_pairs(array, count)
            if architecture.norms_raised and ours.endswith("norm.weight"):
                array = array - 1  # mlx-lm's module adds it
            weights[ours] = array
    return weights


def _read(part: Part, alive: Callable[[], None]) -> Iterator[tuple[str, mx.array]]:
    if part.missing_bytes:
        raise BrokenModel(
            f"{part.path.name} is cut off: {part.missing_bytes:,} of {part.header.file_size:,} bytes are missing.",
            file=part.path.name,
        )
    vanished = {tensor.name: tensor.type for tensor in part.header.tensors}
    joined: Weights = {}
    for excerpt in excerpts(part, part.header.tensors):
        alive()
        try:
            arrays: Any = mx.load(excerpt.path, format="gguf")
        except (RuntimeError, ValueError) as error:
            raise UnsupportedModel(f"{part.path.name} cannot be read by MLX: {error}", file=part.path.name) from error
        if excerpt.slice is not None:
            _join(joined, arrays, excerpt.slice)
            if excerpt.slice.stop < rows(excerpt.slice.tensor):
                continue
            outer = excerpt.slice.tensor.shape[:0:-1]
            arrays, joined = {name: array.reshape(*outer, -1) for name, array in joined.items()}, {}
        for name, array in arrays.items():
            vanished.pop(name, None)
            yield name, array
    if vanished:
        types = sorted(set(vanished.values()))
        raise UnsupportedModel(
            f"GGUF quantization not supported: MLX leaves out the tensors of type {', '.join(types)} "
            f"in {part.path.name}.",
            file=part.path.name,
            types=types,
        )


def _join(joined: Weights, arrays: Weights, part: Slice) -> None:
    """Put the rows in `arrays` into the arrays of their whole tensor, one after the other: all at once would take twice
    the memory."""
    for name, array in arrays.items():
        if part.start == 0:
            joined[name] = mx.zeros((rows(part.tensor), *array.shape[1:]), array.dtype)
        joined[name][part.start : part.stop] = array
    mx.eval(joined)


def _separate_pairs(array: mx.array, heads: int) -> mx.array:
    """Return the rows of each head with the first half of every rotary pair before all second halves.

    `array: mx.array, shape [heads * head size, ...]`. llama.cpp's converter puts the two rows of a pair side by side.
    Rows stay whole, so packed weights, scales and biases are reordered alike.
    """
    rows, *rest = array.shape
    return array.reshape(heads, rows // heads // 2, 2, *rest).swapaxes(1, 2).reshape(array.shape)
