"""Sampling of one row: logits processors, then a sampler."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import mlx.core as mx

from mlxk_core.api.generation import Sampling

Sampler = Callable[[mx.array], mx.array]
"""Draw tokens. `logprobs: mx.array, shape [rows, vocab]` -> `mx.array, shape [rows], uint32`."""
Processor = Callable[[mx.array, mx.array], mx.array]
"""Change logits. `context: mx.array, shape [tokens], int32` (prompt and answer so far) and `logits: mx.array, shape
[1, vocab]` -> logits of the same shape."""

_REPETITION_WINDOW = 64
"""Tokens the repetition penalty looks back at (llama.cpp's default). Over a whole conversation it would also penalize
the end-of-turn token, and answers would not end."""
_GREEDY_BELOW = 1e-6
"""Dividing logits by a lower temperature overflows float32."""
_SHARED_SAMPLERS = 256
_SEEDS = 1 << 64


def sampler_for(sampling: Sampling, vocab_size: int) -> Sampler:
    """Return the sampler of one row.

    Rows with equal settings and no seed get the same object: mlx-lm then draws for all of them in one call.
    """
    if sampling.temperature < _GREEDY_BELOW:
        return greedy
    top_k = sampling.top_k if sampling.top_k < vocab_size else 0
    token_filter = _TokenFilter(sampling.temperature, sampling.top_p, top_k, sampling.min_p)
    return _shared_sampler(token_filter) if sampling.seed is None else _seeded_sampler(token_filter, sampling.seed)


def greedy(logprobs: mx.array) -> mx.array:
    """Return the most probable token of each row."""
    return mx.argmax(logprobs, axis=-1)


@dataclass(frozen=True, slots=True)
class _TokenFilter:
    """Scale logits by the temperature and exclude improbable tokens, in the order of OpenAI's API."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float

    def __call__(self, logprobs: mx.array) -> mx.array:
        """Return scaled logits, shape [rows, vocab], float32, with minus infinity for excluded tokens."""
        scaled = logprobs.astype(mx.float32) * (1 / self.temperature)
        if self.top_k:
            weakest = mx.min(mx.topk(scaled, self.top_k, axis=-1), axis=-1, keepdims=True)
            scaled = _exclude(scaled, scaled < weakest)
        if self.top_p < 1:
            ordered = mx.sort(scaled, axis=-1)
            probabilities = mx.softmax(ordered, axis=-1)
            above = mx.cumsum(probabilities, axis=-1, reverse=True, inclusive=False)
            dropped = mx.sum(above >= self.top_p, axis=-1, keepdims=True)
            dropped = mx.minimum(dropped, ordered.shape[-1] - 1)  # the best token stays, also with top_p 0
            scaled = _exclude(scaled, scaled < mx.take_along_axis(ordered, dropped, axis=-1))
        if self.min_p:
            best = mx.max(scaled, axis=-1, keepdims=True)
            scaled = _exclude(scaled, scaled < best + math.log(self.min_p))
        return scaled


def _exclude(logits: mx.array, excluded: mx.array) -> mx.array:
    return mx.where(excluded, -mx.inf, logits)


@lru_cache(maxsize=_SHARED_SAMPLERS)
def _shared_sampler(token_filter: _TokenFilter) -> Sampler:
    return lambda logprobs: mx.random.categorical(token_filter(logprobs))


def _seeded_sampler(token_filter: _TokenFilter, seed: int) -> Sampler:
    """Return a sampler with its own random key, split once per token, independent of the other rows."""
    key = mx.random.key(seed % _SEEDS)

    def sample(logprobs: mx.array) -> mx.array:
        nonlocal key
        key, current = mx.random.split(key)
        return mx.random.categorical(token_filter(logprobs), key=current)

    return sample


def processors_for(sampling: Sampling, prompt_length: int) -> list[Processor]:
    """Return the logits processors of one row. `prompt_length` is in tokens."""
    processors: list[Processor] = []
    if sampling.repetition_penalty != 1:
        processors.append(_repetition_penalty(sampling.repetition_penalty))
    if sampling.presence_penalty or sampling.frequency_penalty:
        processors.append(_OccurrencePenalty(sampling.presence_penalty, sampling.frequency_penalty, prompt_length))
    if sampling.logit_bias:
        tokens = mx.array(list(sampling.logit_bias))
        bias = mx.array(list(sampling.logit_bias.values()))
        processors.append(lambda _, logits: _finite(logits.at[:, tokens].add(bias.astype(logits.dtype))))
    return processors


def _repetition_penalty(penalty: float) -> Processor:
    """Divide positive logits of recent tokens by `penalty` and multiply negative ones."""

    def process(context: mx.array, logits: mx.array) -> mx.array:
        recent = context[-_REPETITION_WINDOW:]
        chosen = logits[:, recent]
        logits[:, recent] = mx.where(chosen < 0, chosen * penalty, _finite(chosen / penalty))
        return logits

    return process


def _finite(logits: mx.array) -> mx.array:
    """Return `logits` without infinity, which would make NaN of the probabilities; minus infinity excludes a token."""
    return mx.minimum(logits, mx.finfo(logits.dtype).max)


class _OccurrencePenalty:
    """OpenAI's presence and frequency penalties: they count tokens of the answer, not those of the prompt."""

    def __init__(self, presence: float, frequency: float, prompt_length: int) -> None:
        self._presence = presence
        self._frequency = frequency
        self._prompt_length = prompt_length
        self._counts: mx.array | None = None  # shape [vocab]

    def __call__(self, context: mx.array, logits: mx.array) -> mx.array:
        if self._counts is None:
            self._counts = mx.zeros(logits.shape[-1], mx.float32)  # bfloat16 would count to 256 only
        if context.size > self._prompt_length:
            self._counts = self._counts.at[context[-1:]].add(1)
        penalty = self._frequency * self._counts + self._presence * (self._counts > 0)
        most = mx.finfo(logits.dtype).max
        return _finite(logits - mx.clip(penalty, -most, most).astype(logits.dtype))


class GuardedProcessor:
    """A processor that cannot fail the batch: its first error goes to `on_error`, and then it changes nothing more.

    An exception inside a batch step would leave all rows half updated.
    """

    def __init__(self, processor: Processor, on_error: Callable[[Exception], None]) -> None:
        self._processor: Processor | None = processor
        self._on_error = on_error

    def __call__(self, context: mx.array, logits: mx.array) -> mx.array:
        if self._processor is None:
            return logits
        try:
            return self._processor(context, logits)
        except Exception as error:
            self._processor = None
            self._on_error(error)
            return logits
