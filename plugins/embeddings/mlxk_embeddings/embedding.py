"""Texts and token ids into vectors, through the generation service."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mlxk_core.api import Model
from mlxk_core.api.backends import EmbeddingEngine, Engine
from mlxk_core.api.errors import InvalidOption, Kind, UnsupportedModel
from mlxk_core.api.generation import GenerationService
from mlxk_embeddings.configuration import EmbeddingConfiguration, embedding_configuration

TOKENS_PER_TASK = 512
"""Inputs are embedded together up to this many tokens, so that generations do not wait long."""

Input = str | Sequence[int]


class InputTooLong(InvalidOption):
    """An input has more tokens than the model embeds."""

    kind = Kind("context_length_exceeded", 1, 400)


@dataclass(frozen=True)
class Embeddings:
    """Vectors in the order of the inputs, and how many tokens those had."""

    vectors: Sequence[Sequence[float]]
    tokens: int


def embed_inputs(
    service: GenerationService,
    model: Model,
    inputs: Sequence[Input],
    *,
    prompt_name: str | None = None,
    dimensions: int | None = None,
    truncate: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> Embeddings:
    """Return the embeddings of `inputs`.

    Too long an input is cut with `truncate`, else it raises `InputTooLong`. `dimensions` keeps the first numbers of
    each vector, normalized again. Raises `InvalidOption`, `UnsupportedModel`, and what a load raises. Stops between
    two tasks once `cancelled` returns True, with the vectors so far.
    """
    configuration = embedding_configuration(model)
    with service.tokenizer(model) as tokenizer:
        prefix = configuration.prefix(prompt_name)
        encoded = [
            tokenizer.encode(prefix + text, add_special_tokens=True) if isinstance(text, str) else list(text)
            for text in inputs
        ]
        for index, tokens in enumerate(encoded):
            if not tokens:
                raise InvalidOption(f"input[{index}]", "must not be empty")
            if any(not 0 <= token < tokenizer.vocab_size for token in tokens):
                raise InvalidOption(f"input[{index}]", f"a token id is out of range (0 to {tokenizer.vocab_size - 1})")
            encoded[index] = _fit(tokens, index, model, configuration.max_tokens, truncate)
        # Of similar lengths together: padding is computed too.
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        batches = list(_batches(order, encoded))
        tasks = (_task(model, [encoded[index] for index in batch], configuration) for batch in batches)
        vectors: dict[int, Sequence[float]] = {}
        for batch, result in zip(batches, service.run_tasks(model, tasks, needs="embeddings"), strict=False):
            vectors.update(zip(batch, result, strict=True))
            if cancelled():
                break
    found = [_shorten(vectors[index], dimensions) for index in sorted(vectors)]
    return Embeddings(found, sum(len(tokens) for tokens in encoded))


def _fit(tokens: list[int], index: int, model: Model, limit: int | None, truncate: bool) -> list[int]:
    if limit is None or len(tokens) <= limit:
        return tokens
    if not truncate:
        raise InputTooLong(f"input[{index}]", f"has {len(tokens)} tokens; `{model.name}` embeds at most {limit}")
    return [*tokens[: limit - 1], tokens[-1]]  # the last one ends the sequence in models that pool it


def _batches(order: Sequence[int], encoded: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * len(encoded[index]) > TOKENS_PER_TASK:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _task(
    model: Model, inputs: Sequence[Sequence[int]], configuration: EmbeddingConfiguration
) -> Callable[[Engine], Sequence[Sequence[float]]]:
    def run(engine: Engine) -> Sequence[Sequence[float]]:
        if not isinstance(engine, EmbeddingEngine):
            raise UnsupportedModel(f"The backend of `{model.name}` does not embed.", model=model.name)
        vectors: Sequence[Sequence[float]] = engine.embed(
            inputs, pooling=configuration.pooling, normalize=configuration.normalize
        )
        return vectors

    return run


def _shorten(vector: Sequence[float], dimensions: int | None) -> Sequence[float]:
    if dimensions is None or dimensions == len(vector):
        return vector
    if dimensions > len(vector):
        raise InvalidOption("dimensions", f"the model has {len(vector)}")
    kept = vector[:dimensions]
    norm = math.sqrt(sum(value * value for value in kept)) or 1.0
    return [value / norm for value in kept]
