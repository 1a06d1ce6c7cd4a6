"""Checks of a config's sizes against the weights, before a network is built."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlxk_core.api.errors import BrokenModel
from mlxk_core.api.models import Model, model_context_length

_LAYERS = re.compile(r"(^|_)layers?$|^(num|n)_.*layers?|^n_blocks?$")
_REPEATS = re.compile(r"(^|_)(loops|iters|pattern)$|^(hc_mult|altup_num_inputs|emb_neighbor_num|emb_split_num)$")
"""Numbers of passes through a loop of a network."""
MOST_LAYERS = 512
"""Of a network, also of those that its tokens pass several times; the deepest published have 200. A step is one graph,
whatever its size: with 1,500 tiny layers it keeps other models waiting for seconds."""
_MOST_REPEATS = 64
_MOST_ITERATIONS = 4096
"""In all layers together; DeepSeek-V4.1 has 1,220."""
_SIZES = re.compile(
    r"(^|_)(layers?|heads?|experts?|blocks?|groups?|labels)($|_)|(^|_)(hidden_size|vocab_size|d_model|n_embd)$"
)
_EXPERTS = re.compile(r"(^|_)experts($|_)")
_MOST_TENSORS = 20_000
"""Besides those of layers and experts. Reading 30,000 keeps the interpreter locked for half a second."""
_TENSORS_OF_LAYER = 64
_TENSORS_OF_EXPERT = 12
"""In each layer. Kimi K2 Thinking has 9: three matrices, packed, each with scales and its shape."""
_FACTOR = 32
"""No size in a config exceeds the longest axis of a tensor by more: weights are packed 32 to a number at most."""
_MAX_STOP_TOKENS = 1024
_LONGEST_NAME = 100
_LONGEST_SHOWN = 10**15


def check_config(model: Model) -> None:
    """Raise `BrokenModel` if the config cannot belong to the weights. Call it before anything else reads the config."""
    if reason := _implausible(model):
        raise BrokenModel(f"config.json of `{model.name}` does not fit its weights: {reason}.", model=model.name)


def _implausible(model: Model) -> str | None:
    """Return why the config cannot belong to the weights, or None.

    mlx-lm builds a network layer by layer and expert by expert from the config alone, and transformers, which reads it
    for the tokenizer, lists of its layers and labels: for a number of 10^8 they take all memory. Every layer has a
    tensor, no loop of a network has more passes than it has tensors, and every other size is an axis of one.
    """
    tensors = model.weights.tensors
    for name, tensor in tensors.items():
        if len(tensor.shape) > 1 and 0 in tensor.shape:  # MLX divides by numbers of heads and experts
            return f"the tensor {name[:_LONGEST_NAME]} is empty"
    longest = max((axis for tensor in tensors.values() for axis in tensor.shape), default=0)
    limit = _FACTOR * max(longest, len(tensors))
    for key, value in _numbers(model.config):
        if (_LAYERS.search(key) or _REPEATS.search(key)) and value > len(tensors):
            return f"{key} is {_show(value)}, and the weights have {len(tensors):,} tensors"
        if _SIZES.search(key) and value > limit:
            return f"{key} is {_show(value)}, and the longest axis of a tensor is {longest:,}"
    if reason := _too_deep(model.config) or _too_many_tensors(model):
        return reason
    if reason := _reads_outside(model):
        return reason
    if model.config.get("sliding_window") is True:
        return "sliding_window is true, expected a number"
    for place, config in (("config.json", model.config), ("generation_config.json", model.generation_config)):
        named = config.get("eos_token_id")
        if isinstance(named, list) and len(named) > _MAX_STOP_TOKENS:
            return f"{place} has {len(named):,} stop tokens (at most {_MAX_STOP_TOKENS:,})"
    return None


def _too_deep(config: Mapping[str, Any]) -> str | None:
    """Return why one step would be too large a graph, or None."""
    numbers = list(_numbers(config))
    layers = max((value for key, value in numbers if _LAYERS.search(key)), default=1)
    if layers > MOST_LAYERS:
        return f"it has {_show(layers)} layers (at most {MOST_LAYERS})"
    for key, value in numbers:
        if not _REPEATS.search(key):
            continue
        if value > _MOST_REPEATS:
            return f"{key} is {_show(value)} (at most {_MOST_REPEATS})"
        most = {"loops": MOST_LAYERS, "iters": _MOST_ITERATIONS}.get(key.rpartition("_")[2])
        if most is not None and value * layers > most:
            return f"{key} is {_show(value)}, for each of {_show(layers)} layers (at most {most:,} together)"
    return None


def _too_many_tensors(model: Model) -> str | None:
    """Return why the weights cannot all belong to the network, or None. Reading them takes the longer the more they
    are, and mlx-lm reads all before it compares their names."""
    numbers = list(_numbers(model.config))
    layers = sum(max(0, value) for key, value in numbers if _LAYERS.search(key))
    experts = max((value for key, value in numbers if _EXPERTS.search(key)), default=0)
    most = _MOST_TENSORS + layers * (_TENSORS_OF_LAYER + _TENSORS_OF_EXPERT * max(0, experts))
    if len(model.weights.tensors) <= most:
        return None
    return f"the weights have {len(model.weights.tensors):,} tensors, its network at most {int(most):,}"


def _reads_outside(model: Model) -> str | None:
    """Return why the network would read outside of an array, or None. MLX does not check indices: it returns other
    memory, or the process ends."""
    for part in _parts(model.config):
        index, count = part.get("altup_active_idx", 0), part.get("altup_num_inputs")
        if isinstance(index, int) and isinstance(count, int) and not -count <= index < count:
            return f"altup_active_idx is {_show(index)}, and altup_num_inputs is {_show(count)}"
        rows, tokens = part.get("vocab_size_per_layer_input"), part.get("vocab_size")  # gemma3n masks the others
        per_layer = str(model.config.get("model_type")).startswith("gemma4") and part.get("hidden_size_per_layer_input")
        if per_layer and isinstance(rows, int) and isinstance(tokens, int) and rows < tokens:
            return f"vocab_size_per_layer_input is {_show(rows)}, and vocab_size is {_show(tokens)}"
    positions = [tensor.shape[0] for name, tensor in model.weights.tensors.items() if name.endswith("wpe.weight")]
    context = model_context_length(model)
    if positions and (context is None or context > min(positions)):
        context_shown = "unknown" if context is None else _show(context)
        return f"the context length is {context_shown}, and the weights have {min(positions):,} positions"
    return None


def _parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield `config` and the configs of its parts."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        yield part
        waiting.extend(value for value in part.values() if isinstance(value, Mapping))


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of `config` and of the configs of its parts. 1e308 is as good as a whole number to a network
    that rounds it."""
    for part in _parts(config):
        for key, value in part.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield key, value


def _show(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) and value < _LONGEST_SHOWN else "out of range"
