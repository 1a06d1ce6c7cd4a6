"""Embeddings of texts and token ids, computed through the generation service."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from mlxk_core._embedding.configuration import EmbeddingConfiguration, embedding_configuration
from mlxk_core._embedding.partial_work import MOST_TOKENS, BatchWork, batches, beginning, check_cancelled, run_work
from mlxk_core._errors import BrokenModel, InvalidOption, Kind, UnsupportedModel
from mlxk_core._generation.engine import EmbeddingEngine, Engine
from mlxk_core._generation.service import GenerationService
from mlxk_core._generation.tokenizer import Tokenizer
from mlxk_core._generation.tokenizing import encode
from mlxk_core._models.model import Model

_BYTES = 4  # of a number of a vector
_LONGEST_VECTOR = 1 << 16
"""Numbers. Those of published models have up to 8,192; each is looked at with the interpreter locked."""


class InputTooLong(InvalidOption):
    """An input has more tokens than the model reads."""

    kind = Kind("context_length_exceeded", 1, 400)


@dataclass(frozen=True, kw_only=True)
class EmbeddingRequest:
    """Texts or lists of token ids to embed.

    `prompt_name` chooses one of the model's prefixes (None: its default). `dimensions` keeps the first numbers of each
    vector, normalized again. With `truncate` an input that is too long is cut, else it is an error. `option` is the
    name of the inputs in errors. `ttl` is how many idle seconds the model stays loaded afterwards (negative: without
    limit; None: the default of the service).
    """

    model: Model
    inputs: Sequence[str | Sequence[int]]
    prompt_name: str | None = None
    dimensions: int | None = None
    truncate: bool = False
    option: str = "input"
    ttl: float | None = None


@dataclass(frozen=True)
class Embeddings:
    """Vectors of float32 in the order of the inputs, and how many tokens those had."""

    vectors: Sequence[array[float]]
    tokens: int


def embed(
    service: GenerationService,
    request: EmbeddingRequest,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    hold: Callable[[int], None] = lambda size: None,
) -> Embeddings:
    """Return the embeddings of a request.

    `hold` is called with the bytes of all vectors before there is more than a part of them; what it raises ends the
    work.

    Raises `InputTooLong`, `InvalidOption`, `UnsupportedModel`, `BrokenModel` for vectors that are not finite, the
    errors of a load, and `Interrupted` soon after `cancelled` becomes True.
    """
    model = request.model
    configuration = embedding_configuration(model)
    prefix = configuration.prefix(request.prompt_name)
    waiting = partial(check_cancelled, cancelled)
    with service.tokenizer(model, needs="embeddings", waiting=waiting) as tokenizer:
        encoded: list[array[int]] = []  # arrays: 64 requests of 2,048 inputs have ten million tokens
        count = 0
        for index, value in enumerate(request.inputs):
            check_cancelled(cancelled)
            with service.tokenizing(waiting, size=len(value)):
                tokens = _encode(tokenizer, configuration, prefix, value, request, index)
                encoded.append(array("q", tokens))
            if (count := count + len(tokens)) > MOST_TOKENS:
                raise InvalidOption(request.option, f"has over {MOST_TOKENS:,} tokens in all")
        order = list(batches([len(tokens) for tokens in encoded]))
        works = (_work(model, configuration, [encoded[index] for index in batch]) for batch in order)
        found: dict[int, array[float]] = {}  # a list of as many floats takes eight times the memory
        results = run_work(service, model, works, cancelled=cancelled, ttl=request.ttl)
        for batch, vectors in zip(order, results, strict=True):
            if not found:
                hold(len(encoded) * len(vectors[0]) * _BYTES)
            checked = [_check(vector, request) for vector in vectors]
            found.update(zip(batch, checked, strict=True))
    return Embeddings([found[index] for index in range(len(encoded))], count)


def _encode(
    tokenizer: Tokenizer,
    configuration: EmbeddingConfiguration,
    prefix: str,
    value: str | Sequence[int],
    request: EmbeddingRequest,
    index: int,
) -> list[int]:
    """Return the token ids of one input. Raises `InvalidOption` or `InputTooLong`."""
    option = f"{request.option}[{index}]"
    limit = configuration.max_tokens
    whole = True
    if isinstance(value, str):
        text = prefix + value
        read = beginning(tokenizer, text, limit)
        whole = read is text
        tokens = encode(tokenizer, read.lower() if configuration.lower_case else read, add_special_tokens=True)
    else:
        tokens = list(value)
        if tokens and not 0 <= min(tokens) <= max(tokens) < tokenizer.vocab_size:
            raise InvalidOption(option, f"a token id is out of range (0 to {tokenizer.vocab_size - 1})")
    if not tokens:
        raise InvalidOption(option, "must not be empty")
    if limit is None or len(tokens) <= limit:
        return tokens
    if not request.truncate:
        count = len(tokens) if whole else f"over {limit}"
        raise InputTooLong(option, f"has {count} tokens; `{request.model.name}` embeds at most {limit}")
    return [*tokens[: limit - 1], tokens[-1]]  # the last one ends the sequence in models that pool it


def _work(
    model: Model, configuration: EmbeddingConfiguration, inputs: Sequence[array[int]]
) -> BatchWork[Sequence[Sequence[float]]]:
    return BatchWork(partial(_compute, model, configuration, inputs), [len(tokens) for tokens in inputs])


def _compute(
    model: Model, configuration: EmbeddingConfiguration, inputs: Sequence[array[int]], engine: Engine
) -> Iterator[Sequence[Sequence[float]] | None]:
    if not isinstance(engine, EmbeddingEngine):
        raise UnsupportedModel(f"The backend of `{model.name}` does not embed.", model=model.name)
    lists = [tokens.tolist() for tokens in inputs]
    return engine.embed(lists, pooling=configuration.pooling, normalize=configuration.normalize)


def _check(vector: Sequence[float], request: EmbeddingRequest) -> array[float]:
    """Return a vector cut to the requested dimensions. Raises `BrokenModel` if it is not finite."""
    if len(vector) > _LONGEST_VECTOR:
        raise BrokenModel(
            f"`{request.model.name}` returned a vector of {len(vector):,} numbers (at most {_LONGEST_VECTOR:,}).",
            model=request.model.name,
        )
    if not math.isfinite(sum(vector)):
        raise BrokenModel(
            f"`{request.model.name}` returned a vector with numbers that are not finite: its weights are damaged.",
            model=request.model.name,
        )
    dimensions = request.dimensions
    if dimensions is None or dimensions == len(vector):
        return array("f", vector)
    if not 0 < dimensions < len(vector):
        raise InvalidOption("dimensions", f"expected 1 to {len(vector)}, the length of the model's vectors")
    kept = vector[:dimensions]
    norm = math.sqrt(sum(value * value for value in kept)) or 1.0
    return array("f", [value / norm for value in kept])
