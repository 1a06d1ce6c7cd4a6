"""Measures what steps of a network take, without computing any: MLX exports the graph of a pass, with all its arrays.

For a process of its own: the weights of the network are lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import mlx.core as mx
from mlx.utils import tree_map
from mlx_lm.models.cache import make_prompt_cache

from mlxk_mlx.engine.step_costs import NOTHING, SEVERAL, StepCost, StepCosts

_STEPS = (1, SEVERAL, 64, 256, 512)
_SCATTERED = frozenset({"AsStrided", "Broadcast", "Slice", "Split", "Transpose"})
_RESHAPED = frozenset({"Flatten", "Reshape", "Unflatten"})
_VIEWS = _SCATTERED | _RESHAPED | {"Depends", "ExpandDims", "Squeeze", "StopGradient"}
"""Operations whose results share the memory of their inputs; those that reshape copy what is scattered in it."""
_MOST_TRACED = 60_000
"""Operations of the largest step that is measured: tracing one takes several kB."""
_PRODUCTS = 128
"""So many products take as long as to compute a number in another way."""
_CONTEXTS, _SHORT_CONTEXTS = (256, 1 << 13, 1 << 17), (128, 256)
"""Tokens with which the growth of the cost of a step is measured, and those where a network loops over its tokens: it
would take minutes."""
_MORE_OPERATIONS = 1.25
"""How many times as many a long step of such a network has."""


def trace_steps(network: Any, limit: StepCost) -> StepCosts:
    """Return the costs of steps, up to the first that is not within `limit`.

    Raises what MLX and the code of the network raise where they cannot be traced.
    """
    network.update(tree_map(_empty, network.parameters()))  # a graph need not begin with the files
    measured: list[tuple[int, StepCost]] = []
    traced = limit._replace(operations=min(limit.operations, _MOST_TRACED))
    with _exportable():
        for tokens in _STEPS:
            if not _expected(measured, tokens).within(traced):
                break
            measured.append((tokens, _cost(network, tokens)))
        if not measured[0][1].within(limit):
            return StepCosts(tuple(measured))
        first, last = measured[0][1], measured[-1][1]
        loops = first.operations * _MORE_OPERATIONS < last.operations
        contexts = _SHORT_CONTEXTS if loops else _CONTEXTS
        piece = max(tokens for tokens, cost in measured if cost.within(traced)) if loops else contexts[-1]
        one, several = (
            _growth(network, tokens, cost, contexts, piece)
            for (_, cost), tokens in zip(measured, (1, SEVERAL), strict=False)
        )
        of_state = StepCost(*map(max, one.state, several.state))
        return StepCosts(
            tuple(measured), one.each.peak, several.each.peak, several.each.work / SEVERAL, of_state=of_state
        )


def _expected(measured: list[tuple[int, StepCost]], tokens: int) -> StepCost:
    """Return the least that a step will cost; tracing takes as long as there are operations."""
    if len(measured) < 2:
        return measured[0][1] if measured else NOTHING
    (fewer, less), (more, most) = measured[-2:]
    return less.towards(most, (tokens - fewer) / (more - fewer))


class _Growth(NamedTuple):
    """What `each` token of the context adds to a step; `state`, what any context adds: a state, or operations."""

    each: StepCost
    state: StepCost


def _growth(network: Any, tokens: int, alone: StepCost, contexts: Sequence[int], piece: int) -> _Growth:
    """Return the growth by the steepest of the sections between `contexts`: some parts of a network begin with
    thousands of tokens. `alone` is the cost of a step without any."""
    costs = [_cost(network, tokens, context, piece) for context in contexts]
    slopes = [
        [max(0.0, (more - less) / (longer - shorter)) for less, more in zip(*pair, strict=True)]
        for pair, (shorter, longer) in zip(pairwise(costs), pairwise(contexts), strict=True)
    ]
    each = StepCost(*map(max, zip(*slopes, strict=True)))
    peak = costs[0].peak - contexts[0] * each.peak - alone.peak
    return _Growth(each, StepCost(max(0.0, peak), 0, max(0.0, costs[-1].operations - alone.operations)))


@contextmanager
def _exportable() -> Iterator[None]:
    """MLX 0.32 cannot export `mx.contiguous`; a product takes the same."""
    contiguous = mx.contiguous
    mx.contiguous = lambda array, *_, **__: array * 1
    try:
        yield
    finally:
        mx.contiguous = contiguous


def _cost(network: Any, tokens: int, context: int = 0, piece: int = 1) -> StepCost:
    """Return the cost of one pass of `tokens` after `context` tokens, which are read in pieces: all operations of one
    take memory."""
    cache: list[Any] = make_prompt_cache(network)
    for start in range(0, context, piece):
        network(mx.zeros((1, min(piece, context - start)), dtype=mx.uint32), cache=cache)
        for layer in cache:
            layer.state = tree_map(_empty, layer.state)

    def step(inputs: mx.array) -> list[mx.array]:
        logits = network(inputs, cache=cache)
        states: list[mx.array] = []
        for layer in cache:
            tree_map(lambda array: states.append(array) if isinstance(array, mx.array) else None, layer.state)
        return [logits, *states]

    graph = _Graph()
    mx.export_function(graph.add, step, mx.zeros((1, tokens), dtype=mx.uint32))
    return graph.cost()


def _empty(array: Any) -> Any:
    """Return an array like `array` that takes no memory. Each has a number of its own: an export makes one operation of
    those with equal inputs, and zeros are equal."""
    if not isinstance(array, mx.array):
        return array
    number = mx.array([0]).astype(array.dtype)
    return mx.broadcast_to(number, array.shape) if array.ndim else number.reshape(())


class _Graph:
    """The operations of a pass that depend on its tokens, in order."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        """Of the arrays that the operations make, in numbers."""
        self._made: list[int] = []
        """By which operation each of them is made."""
        self._buffer: dict[str, int | None] = {}
        """Which array holds the numbers of a name; None for the tokens."""
        self._scattered: set[str] = set()
        """Names whose numbers are not one after the other in their array, or there once only."""
        self._last: list[int] = []
        """Until which operation each array is needed."""
        self._extra: list[int] = []
        """What each operation takes besides its result."""
        self._products = 0.0
        """What products of arrays that depend on the tokens add to the work: those with weights are limited by the size
        of the network."""

    def add(self, item: Mapping[str, Any]) -> None:
        match item["type"]:
            case "inputs":
                self._buffer.update((name, None) for name, *_ in item["inputs"])
            case "primitive":
                self._add(item)

    def _add(self, item: Mapping[str, Any]) -> None:
        read = [self._buffer[name] for name, *_ in item["inputs"] if name in self._buffer]
        if not read:
            return  # it is made of weights and constants
        now = len(self._extra)
        self._extra.append(_extra(item))
        if item["name"] == "Matmul" and len(read) == 2:
            self._products += math.prod(item["outputs"][0][1]) * item["inputs"][0][1][-1] / _PRODUCTS
        for buffer in read:
            if buffer is not None:
                self._last[buffer] = now
        operation = item["name"]
        scattered = item["inputs"][0][0] in self._scattered
        view = operation in _VIEWS and not (scattered and operation in _RESHAPED)
        for name, shape, _ in item["outputs"]:
            if view:
                self._buffer[name] = read[0]
                if scattered or operation in _SCATTERED:
                    self._scattered.add(name)
                continue
            self._buffer[name] = len(self._sizes)
            self._sizes.append(math.prod(shape))
            self._made.append(now)
            self._last.append(now)

    def cost(self) -> StepCost:
        made: list[int] = [0] * (len(self._extra) + 1)
        freed: list[int] = [0] * (len(self._extra) + 1)
        for size, first, last in zip(self._sizes, self._made, self._last, strict=True):
            made[first] += size
            freed[last] += size
        held = peak = 0
        for now, extra in enumerate(self._extra):
            held += made[now]
            peak = max(peak, held + extra)
            held -= freed[now]
        return StepCost(peak, sum(self._sizes) + sum(self._extra) + self._products, len(self._extra))


def _extra(item: Mapping[str, Any]) -> int:
    """Return the numbers of the copy that a convolution makes of its input: a window for each place."""
    if item["name"] != "Convolution":
        return 0
    (_, inputs, *_), (_, weights, *_) = item["inputs"][:2]
    [(_, outputs, _)] = item["outputs"]
    return math.prod(outputs[:-1]) * math.prod(weights[1:-1]) * int(inputs[-1])
