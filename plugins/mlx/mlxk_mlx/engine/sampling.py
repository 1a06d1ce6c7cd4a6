"""How a row's next token is drawn: penalties on the logits, then a sampler."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import mlx.core as mx

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.generation import Sampling

Sampler = Callable[[mx.array], mx.array]
Processor = Callable[[mx.array, mx.array], mx.array]

_REPETITION_WINDOW = 64
"""The repetition penalty looks at this many tokens back (llama.cpp's number). Over all of a conversation it would
weigh down the end-of-turn token too, until no answer ended."""
_COLDEST = 1e-6
"""Below this a division by the temperature leaves the numbers float32 has."""
_MOST_SAMPLERS = 256
_SEEDS = 1 << 64


def check(sampling: Sampling, vocab_size: int) -> None:
    """Raises `InvalidOption` for a value that MLX would fail on, or crash, in the middle of a batch."""
    _require("temperature", sampling.temperature, "a finite number of 0 or more", 0 <= sampling.temperature < math.inf)
    _require("top_p", sampling.top_p, "above 0 and at most 1", 0 < sampling.top_p <= 1)
    _require("top_k", sampling.top_k, "0 (off) or more", sampling.top_k >= 0)
    _require("min_p", sampling.min_p, "from 0 to 1", 0 <= sampling.min_p <= 1)
    penalty = sampling.repetition_penalty
    _require("repetition_penalty", penalty, "a finite number above 0", 0 < penalty < math.inf)
    for name in ("presence_penalty", "frequency_penalty"):
        _require(name, getattr(sampling, name), "a finite number", math.isfinite(getattr(sampling, name)))
    for token, bias in sampling.logit_bias.items():
        if not 0 <= token < vocab_size:
            raise InvalidOption("logit_bias", f"{token} is no token: the model has {vocab_size}, from 0 on")
        _require("logit_bias", bias, "finite numbers", math.isfinite(bias))
    if sampling.logprobs is not None and not 0 <= sampling.logprobs <= vocab_size:
        raise InvalidOption("logprobs", f"must be from 0 to {vocab_size}, not {sampling.logprobs}")


def _require(option: str, value: float, what: str, holds: bool) -> None:
    if not holds:
        raise InvalidOption(option, f"must be {what}, not {value}")


def sampler_for(sampling: Sampling, vocab_size: int) -> Sampler:
    """The sampler of one row. Rows with equal settings and no seed share one: the batch is then drawn in one call."""
    if sampling.temperature < _COLDEST:
        return greedy
    top_k = sampling.top_k if sampling.top_k < vocab_size else 0
    keep = _Keep(sampling.temperature, sampling.top_p, top_k, sampling.min_p)
    return _shared(keep) if sampling.seed is None else _seeded(keep, sampling.seed)


def greedy(logprobs: mx.array) -> mx.array:
    return mx.argmax(logprobs, axis=-1)


class _Keep(tuple[float, float, int, float]):
    """Temperature, top_p, top_k, min_p: which tokens may be drawn, and how likely."""

    __slots__ = ()

    def __new__(cls, temperature: float, top_p: float, top_k: int, min_p: float) -> _Keep:
        return super().__new__(cls, (temperature, top_p, top_k, min_p))

    def __call__(self, logprobs: mx.array) -> mx.array:
        """Scaled logits; what may not be drawn is minus infinity. The temperature comes first, as in OpenAI's API."""
        temperature, top_p, top_k, min_p = self
        scaled = logprobs.astype(mx.float32) * (1 / temperature)
        if top_k:
            weakest = mx.min(mx.topk(scaled, top_k, axis=-1), axis=-1, keepdims=True)
            scaled = _without(scaled, scaled < weakest)
        if top_p < 1:
            ordered = mx.sort(scaled, axis=-1)
            probabilities = mx.softmax(ordered, axis=-1)
            above = mx.cumsum(probabilities, axis=-1, reverse=True, inclusive=False)
            dropped = mx.sum(above >= top_p, axis=-1, keepdims=True)
            scaled = _without(scaled, scaled < mx.take_along_axis(ordered, dropped, axis=-1))
        if min_p:
            best = mx.max(scaled, axis=-1, keepdims=True)
            scaled = _without(scaled, scaled < best + math.log(min_p))
        return scaled


def _without(logits: mx.array, unwanted: mx.array) -> mx.array:
    return mx.where(unwanted, -mx.inf, logits)


@lru_cache(maxsize=_MOST_SAMPLERS)
def _shared(keep: _Keep) -> Sampler:
    return lambda logprobs: mx.random.categorical(keep(logprobs))


def _seeded(keep: _Keep, seed: int) -> Sampler:
    """Draws with a key of its own, one split a token, so that other rows have no influence."""
    key = mx.random.key(seed % _SEEDS)

    def sample(logprobs: mx.array) -> mx.array:
        nonlocal key
        key, now = mx.random.split(key)
        return mx.random.categorical(keep(logprobs), key=now)

    return sample


def processors_for(sampling: Sampling, prompt_length: int) -> list[Processor]:
    """What changes one row's logits; the context a processor gets holds the prompt and all tokens so far."""
    processors: list[Processor] = []
    if sampling.repetition_penalty != 1:
        processors.append(_repetition(sampling.repetition_penalty))
    if sampling.presence_penalty or sampling.frequency_penalty:
        processors.append(_Occurrences(sampling.presence_penalty, sampling.frequency_penalty, prompt_length))
    if sampling.logit_bias:
        tokens = mx.array(list(sampling.logit_bias))
        bias = mx.array(list(sampling.logit_bias.values()))
        processors.append(lambda _, logits: logits.at[:, tokens].add(bias.astype(logits.dtype)))
    return processors


def _repetition(penalty: float) -> Processor:
    """Weakens the tokens of the last part of the context by a factor, whatever their logits' sign."""

    def process(context: mx.array, logits: mx.array) -> mx.array:
        recent = context[-_REPETITION_WINDOW:]
        chosen = logits[:, recent]
        logits[:, recent] = mx.where(chosen < 0, chosen * penalty, chosen / penalty)
        return logits

    return process


class _Occurrences:
    """OpenAI's presence and frequency penalties: subtracted for tokens of the answer, never for those of the prompt."""

    def __init__(self, presence: float, frequency: float, prompt_length: int) -> None:
        self._presence = presence
        self._frequency = frequency
        self._prompt_length = prompt_length
        self._counts: mx.array | None = None

    def __call__(self, context: mx.array, logits: mx.array) -> mx.array:
        if self._counts is None:
            self._counts = mx.zeros(logits.shape[-1], logits.dtype)
        if context.size > self._prompt_length:
            self._counts = self._counts.at[context[-1:]].add(1)
        return logits - self._frequency * self._counts - self._presence * (self._counts > 0)


class Guarded:
    """A processor that cannot fail the batch: its first error is handed to `failed`, then it changes nothing more.

    An exception inside a step would leave all rows half updated.
    """

    def __init__(self, processor: Processor, failed: Callable[[Exception], None]) -> None:
        self._processor: Processor | None = processor
        self._failed = failed

    def __call__(self, context: mx.array, logits: mx.array) -> mx.array:
        if self._processor is None:
            return logits
        try:
            return self._processor(context, logits)
        except Exception as error:
            self._processor = None
            self._failed(error)
            return logits
