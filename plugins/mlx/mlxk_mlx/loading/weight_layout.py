"""The form of a network's weights in memory: unchanged on a GPU; float32, and dense if that fits, on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from mlxk_core.api.errors import InsufficientMemory
from mlxk_core.api.text import human_size
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.memory import DENSE_SHARE, available_memory
from mlxk_mlx.loading.release import release_network

_BATCH_BYTES = 1 << 28
_BATCH_ARRAYS = 512
_GROWTH, _MARGIN = 1.5, 1 << 28
"""All arrays of a network may take this many times the bytes of its weights, and this many bytes more. Tables of
frequencies and masks, whose sizes a config gives, take kilobytes; they are not computed until they are evaluated."""


def materialize(network: Any, alive: Callable[[], None], memory: int | None = None) -> None:
    """Bring the weights into the form that runs fastest on this machine, and evaluate every array of the network.

    Raises `InsufficientMemory` before the arrays take far more than the weights, or more than `memory` bytes: what
    mlx-lm makes of a file may be larger.

    A CPU emulates half precision 30 to 100 times slower, so weights become float32. With a fast BLAS a dense product
    beats a quantized one, so quantized layers become dense if they fit. `alive` is called between batches of arrays.
    """
    machine = runtime.start()
    if machine.cpu:
        if machine.fast_blas and _fits_dense(network, memory):
            _make_dense(network)
        network.set_dtype(mx.float32)
    if memory is not None and (needed := _bytes(network)) > memory:
        raise InsufficientMemory(
            f"The weights take {human_size(needed)} when they are loaded, and {human_size(max(0, memory))} are free.",
            needed=needed,
            free=memory,
        )
    evaluated: list[mx.array] = []
    try:
        _evaluate(network, alive, evaluated)
    except BaseException:
        release_network(network, evaluated)
        raise
    mx.clear_cache()
    alive()


def _evaluate(network: Any, alive: Callable[[], None], evaluated: list[mx.array]) -> None:
    """Evaluate all arrays of `network`, and add them to `evaluated`."""
    batch: list[mx.array] = []
    size = 0
    left = int(_GROWTH * _bytes(network)) + _MARGIN
    counted: set[int] = set()  # an array comes with its module, and with the lists that hold the module
    for array in _arrays(network):
        left -= 0 if id(array) in counted else array.nbytes
        counted.add(id(array))
        if left < 0:
            raise InsufficientMemory("The network of the model has tables that take more memory than its weights.")
        batch.append(array)
        size += array.nbytes
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_ARRAYS:
            mx.eval(batch)
            evaluated += batch
            batch.clear()
            size = 0
            alive()
    mx.eval(batch)
    evaluated += batch


def check_indices(network: Any, logits: int) -> None:
    """Raise `ValueError` for a table of token ids in the code of a network that the model lacks: Phi-3-small masks 91
    of its 100,352, and MLX would write to the memory after the logits."""
    for module in network.modules():
        for name, value in module.items():
            table = name.startswith("_") and isinstance(value, mx.array) and mx.issubdtype(value.dtype, mx.integer)
            if table and value.size and int(value.max()) >= logits:
                raise ValueError(f"its network knows token {int(value.max()):,}, and it has {logits:,}")


def _quantized_layers(network: Any) -> Iterator[tuple[str, Any]]:
    kinds = (nn.QuantizedLinear, nn.QuantizedEmbedding, QuantizedSwitchLinear)
    return ((name, module) for name, module in network.named_modules() if isinstance(module, kinds))


def _fits_dense(network: Any, memory: int | None) -> bool:
    """Return whether there is room for the quantized layers as dense ones, within `memory` with all other arrays."""
    layers = [module for _, module in _quantized_layers(network)]
    dense = sum(4 * module.weight.size * 32 // module.bits for module in layers)
    if memory is not None:
        quantized = [module.get(part) for module in layers for part in ("weight", "scales", "biases")]
        every = sum(_wide_bytes(array) for _, array in tree_flatten(network.parameters()))
        if every - sum(_wide_bytes(array) for array in quantized if array is not None) + dense > memory:
            return False
    return dense <= DENSE_SHARE * available_memory()


def _wide_bytes(array: mx.array) -> int:
    return 4 * array.size if array.dtype in (mx.float16, mx.bfloat16) else array.nbytes


def _bytes(network: Any) -> int:
    return sum(array.nbytes for _, array in tree_flatten(network.parameters()))


def _make_dense(network: Any) -> None:
    replaced = []
    for name, module in _quantized_layers(network):
        scales: Any = _wide(module.scales)
        biases: Any = _wide(module.get("biases"))
        weight = mx.dequantize(
            module.weight,
            scales,
            biases,
            module.group_size,
            module.bits,
            module.mode,
        ).astype(mx.float32)
        dense = _empty(module, weight)
        dense.weight = weight
        if "bias" in module:
            dense.bias = module.bias
        replaced.append((name, dense))
    if replaced:
        network.update_modules(tree_unflatten(replaced))


def _wide(array: mx.array | None) -> mx.array | None:
    """Return floating-point scales in float32: dequantizing in half precision takes 3.5 times as long, and rounds.

    Exponents of mxfp4, shape [outputs, groups], uint8, stay as they are.
    """
    return array.astype(mx.float32) if array is not None and mx.issubdtype(array.dtype, mx.floating) else array


def _empty(module: Any, weight: mx.array) -> nn.Module:
    if isinstance(module, nn.QuantizedEmbedding):
        return nn.Embedding(*weight.shape)
    if isinstance(module, nn.QuantizedLinear):
        return nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in module)
    experts, outputs, inputs = weight.shape
    return SwitchLinear(inputs, outputs, experts, bias="bias" in module)


def _arrays(network: Any) -> Iterator[mx.array]:
    """Yield every array, parameters or not: a lazy one, like the frequencies of a scaled rope, belongs to the thread
    that created it and fails in any other."""
    for module in network.modules():
        for value in [*module.values(), *vars(module).values()]:
            for _, leaf in tree_flatten(value) if isinstance(value, list | dict | tuple) else [("", value)]:
                if isinstance(leaf, mx.array):
                    yield leaf
