"""Loading of GGUF models: the engine of mlxk-mlx with a network and a tokenizer built from the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mlxk_core.api import EngineContext, Model
from mlxk_core.api.errors import UnsupportedModel
from mlxk_gguf.files import open_files
from mlxk_gguf.support import reason_against
from mlxk_mlx.engine.tokenizer import LoadedTokenizer
from mlxk_mlx.engine.tokenizer_process import load_in_process
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.heartbeat import observe
from mlxk_mlx.loading.load import prepare, read_ahead, translated_errors
from mlxk_mlx.loading.memory import DENSE_SHARE, available_memory, estimate_tokenizer
from mlxk_mlx.loading.tokenizer_load import TokenizerLoad

# Bits that MLX holds for each weight: a packed one has a scale and a bias for every 32 (in float32 on a CPU).
_PACKED_BITS = {"Q4_0": 4, "Q4_1": 4, "Q8_0": 8}
_SCALES = 2 / 32
_TOKEN = 50
"""Bytes of a token and its merges in the tokenizer.json that a vocabulary is turned into."""


def load(model: Model, context: EngineContext) -> Any:
    """Load `model`. Raises `BrokenModel` or `UnsupportedModel`, and `Interrupted` from `context.alive`."""
    model.note_versions()
    files = open_files(model)
    if reason := reason_against(files):
        raise UnsupportedModel(f"`{model.name}` cannot be run: {reason}.", model=model.name)
    read_ahead(part.path for part in files.parts)
    with TokenizerLoad(partial(load_tokenizer, model)) as tokenizer:  # before the imports, which take as long
        runtime.start_on_engine_thread(context)
        context.alive()
        from mlxk_gguf.network import build_network  # imports MLX, which must be started before

        with translated_errors(model), observe(context.alive):
            network, _ = build_network(files, context.alive)
        return prepare(model, network, lambda: tokenizer.result(context.alive), context)


def estimate(model: Model) -> int:
    """Return the bytes that `model` takes when it is loaded, with the process of its tokenizer."""
    tokens = model.gguf.metadata.get("tokenizer.ggml.tokens") if model.gguf is not None else None
    size = _TOKEN * len(tokens) if isinstance(tokens, Sequence) else 0
    return estimate_weights(model) + estimate_tokenizer(size)


def estimate_weights(model: Model) -> int:
    """Return the bytes of the weights: on a CPU in float32, and dense where that is faster and fits."""
    machine = runtime.machine()
    half, whole = (4, 4) if machine.cpu else (2, 4)
    tensors = open_files(model).tensors
    packed = [tensor for tensor in tensors if tensor.type in _PACKED_BITS]
    others = [tensor for tensor in tensors if tensor.type not in _PACKED_BITS]
    size = sum(tensor.elements * (whole if tensor.type == "F32" else half) for tensor in others)
    dense = sum(4 * tensor.elements for tensor in packed)
    if machine.cpu and machine.fast_blas and dense <= DENSE_SHARE * available_memory():
        return size + dense
    return size + sum(int(tensor.elements * (_PACKED_BITS[tensor.type] / 8 + half * _SCALES)) for tensor in packed)


def load_tokenizer(model: Model, waiting: Callable[[], None]) -> LoadedTokenizer:
    """Return the tokenizer in the header of `model`, in a process of its own, with calls of `waiting` now and then."""
    return load_in_process(model, "mlxk_gguf.tokenizer:read_tokenizer", waiting)
