"""Returning the memory of arrays to the system without the interpreter's lock.

That takes 0.15 s for each gigabyte, and far longer on a busy machine. MLX gives up the lock while it evaluates, and
frees what the evaluation was the last to need.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

_SMALL = 16 << 20


def release_arrays(arrays: list[mx.array]) -> None:
    """Empty `arrays`, which are evaluated, and free those that nothing else refers to."""
    if sum(array.nbytes for array in arrays) < _SMALL:
        arrays.clear()
    firsts = []
    while arrays:
        array = arrays.pop()
        firsts.append(array[(slice(0, 1),) * array.ndim] + 0)
        del array
    mx.eval(firsts)


def release_network(network: Any, arrays: list[mx.array] | None = None) -> None:
    """Take everything out of `network`, and free `arrays`: what is evaluated of it (None: all of its parameters)."""
    if arrays is None:
        arrays = [array for _, array in tree_flatten(network.parameters())]
    for module in network.modules():
        module.clear()
    release_arrays(arrays)


def release_caches(caches: list[Any]) -> None:
    """Take the arrays out of the `caches` of layers, which are not used any more, and free them."""
    release_arrays(_taken_out(caches))


def _taken_out(caches: Iterable[Any]) -> list[mx.array]:
    arrays: list[mx.array] = []
    for layer in caches:
        for name, value in vars(layer).items():
            if name == "caches":
                arrays += _taken_out(value)
            elif found := [each for _, each in tree_flatten([value]) if isinstance(each, mx.array)]:
                arrays += found
                setattr(layer, name, None)
    return arrays
