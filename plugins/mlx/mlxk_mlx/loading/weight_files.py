"""Weights as lazy arrays, from files that mlxk opens itself.

MLX opens a path with the interpreter locked, whatever lies there by then: a pipe would keep the server locked for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxk_core.api.models import Model, open_file

_DESCRIPTORS = Path("/proc/self/fd")
"""Where Linux has the open files of a process as paths. macOS has copies of descriptors under such a path, which share
their position: there MLX opens the file under its own name."""


def read_arrays(path: Path) -> dict[str, mx.array]:
    """Return the arrays of a safetensors file by name; their values are read when they are evaluated.

    Raises `OSError` if it is not a regular file, `SystemLimit`, and what MLX raises for a damaged one.
    """
    with open_file(path) as file:
        opened = _DESCRIPTORS / str(file.fileno())
        found: Any = mx.load(str(opened if opened.exists() else path), format="safetensors")
    return dict(found)


def with_weights(network: Any, model: Model, watched: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Return the class `network` so that it reads the weights of `model` itself, and takes no others.

    It is for mlx-lm's `load_model` with `strict=False` and a folder that has no weights. Its `sanitize` gets what
    `watched` returns of the weights.
    """
    rest = getattr(network, "sanitize", None)
    load = network.load_weights

    def sanitize(self: Any, weights: dict[str, Any]) -> dict[str, Any]:
        for name in model.weights.headers:
            weights.update(read_arrays(model.path / name))
        model.check_unchanged()
        return weights if rest is None else rest(self, watched(weights))

    def load_weights(self: Any, weights: Any, strict: bool = True) -> Any:
        return load(self, weights, strict=True)

    members = {"sanitize": sanitize, "load_weights": load_weights, "__module__": network.__module__}
    return type(network.__name__, (network,), members)
