"""The engine of an encoder: it embeds and scores pairs, and generates nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import mlx.core as mx
from mlx.utils import tree_flatten

from mlxk_core.api.backends import Pooling, Row, StepEvent, TokenPair
from mlxk_core.api.errors import ContextLengthExceeded, NoTemplate, UnsupportedModel
from mlxk_core.api.generation import Message, Tool
from mlxk_encoders.layers import MOST_SCORES, Encoder, validity
from mlxk_mlx.engine.cache_footprint import check_free_memory
from mlxk_mlx.engine.embedding import pad, pool, vectors_of
from mlxk_mlx.engine.tokenizer import LoadedTokenizer
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.release import release_network

_PART_ON_CPU = 2e9
_PART_WITH_BLAS = 18e9
_PART_ON_GPU = 1e12
"""Products that a part computes: about a second on an old CPU, and on a small GPU."""
_PART_SECONDS = 0.5
"""After these a part ends also if it has computed less: attention to a long input takes longest."""
_COPIES = 10
"""Arrays of the size of all states, and of what a layer computes at once, that it holds."""


class EncoderEngine:
    """`mlxk_core.api.backends.Engine` for an encoder, which is an `EmbeddingEngine` and a `CrossEncoderEngine`.

    `network` is ready to run: all its arrays are evaluated. `tokenizer` is that of the model. `first_errors` translates
    errors until a pass has ended: they tell of a config that does not fit.
    """

    native_stops: frozenset[int] = frozenset()

    def __init__(
        self,
        name: str,
        network: Encoder,
        tokenizer: LoadedTokenizer,
        machine: runtime.Runtime,
        *,
        first_errors: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._name = name
        self._errors = first_errors
        self._network: Encoder | None = network
        weights = [array for _, array in tree_flatten(network.parameters())]
        self._fixed_bytes = sum(array.nbytes for array in weights) + tokenizer.memory
        on_cpu = _PART_WITH_BLAS if machine.fast_blas else _PART_ON_CPU
        self._part = on_cpu if machine.cpu else _PART_ON_GPU
        self.tokenizer = tokenizer.adapt(_rows(network, "tok_embeddings") or _rows(network, "word_embeddings"))

    @property
    def memory(self) -> int:
        return self._fixed_bytes

    def input_bytes(self, lengths: Sequence[int], /) -> int:
        with self._errors():
            states = self._open_network.embed(mx.zeros((len(lengths), max(lengths)), mx.int32), None)  # not evaluated
        return self._held_bytes(states)

    def embed(
        self, inputs: Sequence[Sequence[int]], *, pooling: Pooling, normalize: bool
    ) -> Iterator[Sequence[Sequence[float]] | None]:
        lengths = [len(tokens) for tokens in inputs]
        for states in self._pass(self._tokens(inputs), None, validity(lengths)):
            if states is None:
                yield None
            else:
                yield vectors_of(pool(states, lengths, pooling, normalize))

    def score(self, pairs: Sequence[TokenPair]) -> Iterator[Sequence[float] | None]:
        valid = validity([len(pair.tokens) for pair in pairs])
        count = _rows(self._open_network, "token_type_embeddings")
        types = pad([pair.types or (0,) * len(pair.tokens) for pair in pairs], count) if count > 1 else None
        for states in self._pass(self._tokens([pair.tokens for pair in pairs]), types, valid):
            if states is None:
                yield None
            else:
                yield self._open_network.classify(states, valid)[:, 0].astype(mx.float32).tolist()

    def _tokens(self, inputs: Sequence[Sequence[int]]) -> mx.array:
        return pad(inputs, self.tokenizer.vocab_size)

    def _pass(self, tokens: mx.array, types: mx.array | None, valid: mx.array | None) -> Iterator[mx.array | None]:
        """Yield None after each part, and at last the states of the whole network.

        Raises `InsufficientMemory` for tokens whose states do not fit, and `ContextLengthExceeded` for inputs so long
        that the scores of a single token are too many.
        """
        with self._errors():
            yield from self._layers(tokens, types, valid)
        self._errors = nullcontext

    def _layers(self, tokens: mx.array, types: mx.array | None, valid: mx.array | None) -> Iterator[mx.array | None]:
        network = self._open_network
        heads = max((layer.heads for layer in network.layers), default=1)
        if tokens.shape[1] > MOST_SCORES // heads:
            raise ContextLengthExceeded(tokens.shape[1], MOST_SCORES // heads)
        states = network.embed(tokens, types)
        check_free_memory(self._held_bytes(states), tokens.size)
        inputs, length = tokens.shape
        products, began = 0, time.monotonic()
        for layer in network.layers:
            most = layer.most_inputs
            parts = []
            for first in range(0, inputs, most):
                part = slice(first, first + most)
                block_products = layer.block_products(min(most, inputs - first), length)
                blocks = []
                for block in layer.blocks(states[part], None if valid is None else valid[part]):
                    if block is not None:
                        blocks.append(block)
                    products += block_products
                    if products >= self._part or time.monotonic() - began >= _PART_SECONDS:
                        mx.eval(blocks[-1:])
                        yield None
                        products, began = 0, time.monotonic()
                parts.append(_joined(blocks, axis=1))
                if inputs > most:
                    mx.eval(parts[-1])  # so that only one part is computed at once
            states = _joined(parts, axis=0)
        yield network.finish(states)

    def _held_bytes(self, states: mx.array) -> int:
        """Return what a pass holds, in bytes. `states` are those before the first layer."""
        inputs, length, _ = states.shape
        layers = self._open_network.layers
        widest = max((layer.widest_bytes(inputs, length) for layer in layers), default=0)
        scores = max((layer.score_bytes(inputs, length) for layer in layers), default=0)
        return int(_COPIES * max(states.nbytes, widest)) + scores

    @property
    def _open_network(self) -> Encoder:
        assert self._network is not None, "the engine is closed"
        return self._network

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        raise NoTemplate

    def check(self, row: Row) -> None:
        self._refuse()

    def add(self, row: Row) -> None:
        self._refuse()

    def step(self) -> Sequence[StepEvent]:
        return ()

    def remove(self, id: int, /) -> None:
        pass

    def reset(self) -> None:
        mx.clear_cache()

    def close(self) -> None:
        self.tokenizer.close()
        network, self._network = self._network, None
        if network is not None:
            release_network(network)
        self._fixed_bytes = 0
        runtime.free_memory()

    def _refuse(self) -> NoReturn:
        raise UnsupportedModel(f"`{self._name}` is an encoder; it does not generate text.", model=self._name)


def _joined(parts: Sequence[mx.array], axis: int) -> mx.array:
    return parts[0] if len(parts) == 1 else mx.concatenate(list(parts), axis=axis)


def _rows(network: Encoder, table: str) -> int:
    """Return the number of ids that an embedding table has vectors for; 0 without that table."""
    return int(network.embeddings[table].weight.shape[0]) if table in network.embeddings else 0
