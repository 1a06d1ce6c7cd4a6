"""The MLX engine: one loaded network that decodes many rows at once on mlx-lm's batch generator.

It does not depend on how the network was made: any backend whose models are MLX networks with mlx-lm's interface
(called with tokens and `cache=`, caches from `make_prompt_cache`) can use it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.generate import BatchGenerator, StopSequences
from mlx_lm.models.cache import make_prompt_cache

from mlxk_core.api.backends import EngineContext, Pooling, Prefilled, Row, RowFailed, Sampled, StepEvent, check_row
from mlxk_core.api.errors import BrokenModel, ContextLengthExceeded, MlxkError
from mlxk_core.api.generation import Message, Tool
from mlxk_mlx.engine import embedding, sampling
from mlxk_mlx.engine.cache_footprint import CacheFootprint, check_free_memory
from mlxk_mlx.engine.chat_template import ChatTemplate
from mlxk_mlx.engine.constraint_masks import MaskedNetwork, RowMask
from mlxk_mlx.engine.generation_prompt import generation_prompt_tokens
from mlxk_mlx.engine.logprobs import Logprobs, logprobs_of
from mlxk_mlx.engine.prefill_chunks import PrefillChunks
from mlxk_mlx.engine.prompt_cache import Cache, PromptCache
from mlxk_mlx.engine.reading_turns import ReadingTurns
from mlxk_mlx.engine.scoring import PromptScoring
from mlxk_mlx.engine.step_costs import StepCosts, step_limit
from mlxk_mlx.engine.tokenizer import ModelTokenizer
from mlxk_mlx.engine.weight_count import weight_count
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.release import release_network

_STOP_SEQUENCE_CACHE = 64
_GROWTH = 256
"""Tokens for which a row must have room when another one begins: mlx-lm's caches grow by as many."""
_NUMBER = 4  # bytes
_COPIES = 3
"""Arrays as wide as the widest weight that a step of a plain network holds: two products, and what is made of them."""
_SEGMENT = 1 << 16
"""Tokens of one segment of a prompt. mlx-lm copies the rest of a segment in every step, with the interpreter locked."""


@dataclass(slots=True, eq=False)
class _ActiveRow:
    """A row in the generator, or one whose prompt waits for its turn. `cached` prompt tokens came from the prompt
    cache; `checkpoints` are prompt lengths at which a copy of its cache is kept. A `segmented` prompt is read in
    several segments."""

    row: Row
    cached: int
    checkpoints: frozenset[int]
    segmented: bool
    processors: list[Any]
    cache: Cache | None
    """Of its first `begun` tokens, while it is not in the generator."""
    begun: int
    """Prompt tokens that were read before it was given to the generator."""
    read: int
    """Prompt tokens that were read until now."""
    uid: int | None = None
    """What the generator calls it; None while its prompt waits."""
    decoding: bool = False
    failure: Exception | None = None
    mask: RowMask | None = None
    scored: bool = False
    """Its cached tokens were computed for it, when the prompt was scored."""
    sampled: int = 0

    @property
    def length(self) -> int:
        """Tokens of its prompt and its response so far."""
        return len(self.row.prompt) + self.sampled

    @property
    def unread(self) -> int:
        """Tokens of its prompt that are left to read."""
        return len(self.row.prompt) - self.read

    @property
    def plain(self) -> bool:
        """Whether its prompt is read from the beginning to the end, without a copy on the way."""
        return not self.begun and not self.segmented

    @property
    def complete(self) -> bool:
        """Whether the constraint allows no further token."""
        return self.mask is not None and self.mask.complete

    def fail(self, error: Exception) -> None:
        # What its traceback names are calls of the step, whose variables hold this row. Such an error needs none.
        self.failure = error.with_traceback(None) if isinstance(error, MlxkError) else error


class MlxEngine:
    """`mlxk_core.api.backends.Engine` for an MLX network.

    `network` is ready to run (`mlxk_mlx.loading.load.prepare`): all its arrays are evaluated. `native_stops` are the
    stop tokens named by its files. `first_steps` translates the errors of steps until a row has ended: they tell of a
    config that does not fit. The object is created and used on the engine thread.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: ModelTokenizer,
        *,
        tokenizer_bytes: int = 0,
        native_stops: frozenset[int],
        template: ChatTemplate,
        context: EngineContext,
        costs: StepCosts | None = None,
        first_steps: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.tokenizer = tokenizer
        self.native_stops = native_stops
        self._network = network
        self._step_errors = first_steps
        self._template = template
        self._concurrency = context.concurrency
        weights = [array for _, array in tree_flatten(network.parameters())]
        self._fixed_bytes = sum(array.nbytes for array in weights) + tokenizer_bytes
        self._footprint = CacheFootprint.of(network)
        self._chunks = PrefillChunks.of(weight_count(network))
        self._costs = costs
        self._step_limit = step_limit()
        self._widest = _longest_axis(network)
        self._widest_layer = max(map(_longest_axis, network.layers), default=self._widest)
        self._prompt_cache = PromptCache(context.cache_bytes)
        self._generation_prompt = (
            [] if self._footprint.trimmable else generation_prompt_tokens(template, tokenizer, context.alive)
        )
        self._rows: dict[int, _ActiveRow] = {}
        self._by_uid: dict[int, _ActiveRow] = {}
        self._scoring: dict[int, PromptScoring] = {}
        self._score_at = 0.0
        """When the next chunk may be scored, while other rows decode: they get as much time as the last one took."""
        self._masked = MaskedNetwork(network)
        self._decoding: list[int] = []
        self._turns = ReadingTurns[_ActiveRow]()
        self._generator = self._new_generator()
        # Without it the end of the thread aborts the process: MLX's compile cache outlives the interpreter's state.
        context.at_thread_exit(mx.clear_streams)

    @property
    def memory(self) -> int:
        scoring = sum(row.nbytes for row in self._scoring.values())
        return self._fixed_bytes + self._cache_bytes + self._prompt_cache.nbytes + scoring

    @property
    def _cache_bytes(self) -> int:
        """Bytes of the caches of all rows."""
        paused = (layer.nbytes for active in self._rows.values() for layer in active.cache or ())
        return int(self._generator.prompt_cache_nbytes) + sum(paused)

    @property
    def prompt_cache_bytes(self) -> int:
        return self._prompt_cache.nbytes

    def drop_prompts(self, size: int, /) -> int:
        return self._prompt_cache.drop(size)

    def row_bytes(self, row: Row, /) -> int:
        lengths = [active.length for active in self._rows.values()]
        if row.prompt_logprobs is None:
            lengths.append(len(row.prompt))
            alone = 0
        else:
            alone = self._row_bytes(len(row.prompt))
        # The caches of a batch are as long as the longest of its rows.
        batch = len(lengths) * self._row_bytes(max(lengths, default=0) + _GROWTH)
        return max(0, batch - self._cache_bytes) + alone + self._scoring_growth()

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        return self._template.render(messages, tools=tools, generation_prompt=generation_prompt, options=options)

    def _scoring_growth(self) -> int:
        """Return the bytes by which the caches of prompts grow that are being scored: by turns, so all of them do."""
        rows = self._scoring.values()
        return sum(max(0, self._footprint.row_bytes(len(row.row.prompt)) - row.nbytes) for row in rows)

    def _row_bytes(self, length: int, widest: int | None = None) -> int:
        """Return the bytes of the caches of a row with `length` tokens, and of what it adds to a step. `widest` is the
        longest axis of the weights that the step uses, None for all."""
        if self._costs is not None and (cost := self._costs.of(1, length)) is not None:
            step = int(cost.peak)
        else:
            step = max(self._chunks.score * self._footprint.heads * length, _COPIES * (widest or self._widest))
        return self._footprint.row_bytes(length) + _NUMBER * step

    def check(self, row: Row) -> None:
        check_row(row, self.tokenizer.vocab_size)
        check_free_memory(self._row_bytes(len(row.prompt)), len(row.prompt))
        self._check_step(len(row.prompt))

    def _check_step(self, length: int) -> None:
        """Raise for a prompt of which not even one token can be read after the others: `InsufficientMemory`, or
        `ContextLengthExceeded` if that takes minutes."""
        longest = self._chunks.longest(*self._footprint.scores(1))
        if length >= longest:
            raise ContextLengthExceeded(length, longest)
        cost = self._costs.of(1, length) if self._costs is not None else None
        if cost is not None and cost.peak > self._step_limit.peak:
            check_free_memory(_NUMBER * int(cost.peak), length)

    def add(self, row: Row) -> None:
        if row.prompt_logprobs is not None:
            self._scoring[row.id] = PromptScoring(self._network, row, self.tokenizer.vocab_size)
            return
        cache, cached = self._prompt_cache.fetch(row.prompt)
        self._decode(row, cache, cached)

    def _decode(self, row: Row, cache: Cache | None, cached: int, *, scored: bool = False) -> None:
        """Let the prompt of a row wait for its turn. `cache` has its first `cached` tokens."""
        checkpoints = self._checkpoints(row.prompt, cached)
        active = _ActiveRow(
            row,
            cached,
            frozenset(checkpoints),
            segmented=bool(checkpoints) or len(row.prompt) - cached > _SEGMENT,
            processors=sampling.processors_for(row.sampling, len(row.prompt)),
            cache=cache,
            begun=cached,
            read=cached,
            scored=scored,
        )
        if row.constraint is not None:
            active.mask = RowMask(row.constraint, self._masked, active.fail)
            active.processors.append(active.mask)
        self._rows[row.id] = active
        self._turns.add(active)

    def _insert(self, active: _ActiveRow) -> None:
        """Give a row to the generator, with its cache."""
        row, begun = active.row, active.begun
        prompt = row.prompt if isinstance(row.prompt, list) else list(row.prompt)
        checkpoints = (length for length in active.checkpoints if length > begun)
        cuts = sorted({*range(begun, len(prompt), _SEGMENT), *checkpoints, len(prompt)})
        [active.uid] = self._generator.insert_segments(
            [[prompt[start:end] for start, end in pairwise(cuts)]],
            max_tokens=[row.max_tokens],
            caches=[active.cache] if active.cache is not None else None,
            all_tokens=[prompt[:begun]],
            samplers=[sampling.sampler_for(row.sampling, self.tokenizer.vocab_size)],
            logits_processors=[[sampling.GuardedProcessor(processor, active.fail) for processor in active.processors]],
            stop_sequences=[_stop_sequences(row.stop_tokens)],
        )
        active.cache = None
        self._by_uid[active.uid] = active

    def _pause(self, active: _ActiveRow) -> None:
        """Take a row from the generator, with the cache of what was read of its prompt."""
        assert active.uid is not None
        cache, tokens = self._generator.remove([active.uid], return_prompt_caches=True)[active.uid]
        if tokens:
            mx.eval([layer.state for layer in cache])
        del self._by_uid[active.uid]
        active.cache, active.begun, active.uid = cache if tokens else None, len(tokens), None
        self._turns.add(active)

    def _take_turns(self) -> None:
        """Give the generator the prompts whose turn it is, and take others from it for that."""
        reading = [active for active in self._by_uid.values() if not active.decoding]
        paused = self._turns.to_pause(reading, max(1, self._chunks.rows // 2))
        if paused and not self._mixes:
            paused = list(reading)
        for active in paused:
            self._pause(active)
            reading.remove(active)
        while (taken := self._turns.take(lambda active: self._fits(active, reading))) is not None:
            self._insert(taken)
            reading.append(taken)

    @property
    def _mixes(self) -> bool:
        """Whether prompts can be read together however much of them was read before.

        With sliding windows mlx-lm 0.32.2 mixes up rows when one that has a history or several segments is read
        together with others: their answers change. Such a row is read alone, and so is each row of some networks.
        """
        return self._footprint.padded and not self._footprint.sliding_window

    def _fits(self, active: _ActiveRow, reading: Sequence[_ActiveRow]) -> bool:
        """Return whether a prompt can be read together with those of `reading`."""
        if not reading:
            return True
        plain = self._footprint.padded and active.plain and all(other.plain for other in reading)
        return len(reading) < self._chunks.rows and (self._mixes or plain)

    def step(self) -> Sequence[StepEvent]:
        with self._step_errors():
            return [*self._score(), *self._generate()]

    def _score(self) -> Sequence[StepEvent]:
        """Score a chunk of the prompt whose turn it is: one that comes later does not wait until the others end."""
        began = time.monotonic()
        if not self._scoring or (self._rows and began < self._score_at):
            return ()
        id = next(iter(self._scoring))
        scoring = self._scoring.pop(id)
        try:
            chunk = self._chunks.while_decoding if self._rows else self._chunks.alone
            scored = scoring.advance(self._limited(chunk, len(scoring.row.prompt)))
        except Exception as error:  # its cache is its own: no other row is affected
            return [RowFailed(id, error)]
        ended = time.monotonic()
        self._score_at = ended + (ended - began)
        if not scoring.complete:
            self._scoring[id] = scoring  # after the others
            return [scored]
        if scoring.row.max_tokens:
            self._decode(scoring.row, scoring.cache if scoring.done else None, scoring.done, scored=True)
            return [scored]
        total = len(scoring.row.prompt)
        return [Prefilled(id, total, total), scored]

    def _generate(self) -> Sequence[StepEvent]:
        if not self._rows:
            return ()
        self._take_turns()
        self._generator.prefill_step_size = self._chunk()
        if self._decoding:  # the first pass of a step decodes these rows
            self._masked.expect([self._by_uid[uid].mask for uid in self._decoding])
        read, sampled = self._generator.next()
        self._masked.end_step()
        self._decoding = [response.uid for response in sampled if response.finish_reason is None]
        self._decoding += [response.uid for response in read if response.end_of_prompt]
        for response in sampled:
            if self._is_of_nan(response):
                self._by_uid[response.uid].fail(
                    BrokenModel("The model returned NaN. Its weights or its config.json are damaged.")
                )
        failed = [(active, active.failure) for active in self._rows.values() if active.failure is not None]
        events: list[StepEvent] = [self._prefilled_event(response) for response in read]
        logprobs = self._logprobs(sampled)
        for response in sampled:
            active = self._by_uid[response.uid]
            active.sampled += 1
            if active.failure is None:
                events.append(_sampled_event(active, response, logprobs.get(response.uid)))
            if response.finish_reason is not None:
                self._forget(active)
                if active.failure is None:
                    self._prompt_cache.insert(response.all_tokens, response.prompt_cache)
                self._step_errors = nullcontext
            elif active.complete and active.failure is None:
                self.remove(active.row.id)
        for active, failure in failed:
            events = [event for event in events if event.id != active.row.id]
            events.append(RowFailed(active.row.id, failure))
            if active.row.id in self._rows:
                if active.uid is not None:
                    self._generator.remove([active.uid])
                self._forget(active)
        return events

    def _is_of_nan(self, response: Any) -> bool:
        """Return whether the token was drawn from logits with NaN, which makes it the first or the last one: only then
        is its probability looked at."""
        if 0 < response.token < self.tokenizer.vocab_size - 1:
            return False
        return not math.isfinite(response.logprobs[min(response.token, self.tokenizer.vocab_size - 1)].item())

    def embed(
        self, inputs: Sequence[Sequence[int]], *, pooling: Pooling, normalize: bool
    ) -> Iterator[Sequence[Sequence[float]] | None]:
        self._check_inputs(inputs)
        return embedding.embed(
            self._network,
            inputs,
            pooling=pooling,
            normalize=normalize,
            chunk=self._limited(self._chunks.while_decoding, max(map(len, inputs))),
            vocab_size=self.tokenizer.vocab_size,
        )

    def next_token_logits(
        self, inputs: Sequence[Sequence[int]], tokens: Sequence[int]
    ) -> Iterator[Sequence[Sequence[float]] | None]:
        self._check_inputs(inputs)
        return embedding.next_token_logits(
            self._network,
            inputs,
            tokens,
            chunk=self._limited(self._chunks.while_decoding, max(map(len, inputs))),
            vocab_size=self.tokenizer.vocab_size,
        )

    def input_bytes(self, lengths: Sequence[int], /) -> int:
        return len(lengths) * self._row_bytes(max(lengths), self._widest_layer)

    def _check_inputs(self, inputs: Sequence[Sequence[int]]) -> None:
        """Raise what `check` does for inputs that are read together."""
        lengths = [len(tokens) for tokens in inputs]
        check_free_memory(self.input_bytes(lengths), sum(lengths))
        self._check_step(max(lengths))

    def remove(self, id: int, /) -> None:
        self._scoring.pop(id, None)
        active = self._rows.get(id)
        if active is None:
            return
        self._forget(active)
        if active.uid is None:
            cache, tokens = active.cache, active.row.prompt[: active.begun]
        else:
            held = self._generator.remove([active.uid], return_prompt_caches=True)
            cache, tokens = held.get(active.uid, (None, []))
        if cache is not None:  # a stopped answer is often continued
            self._prompt_cache.insert(tokens, cache)

    def reset(self) -> None:
        self._scoring.clear()
        self._rows.clear()
        self._by_uid.clear()
        self._turns.clear()
        self._decoding.clear()
        self._prompt_cache.clear()
        self._masked = MaskedNetwork(self._network)
        self._generator = self._new_generator()
        mx.clear_cache()

    def close(self) -> None:
        self.tokenizer.close()
        self._scoring.clear()
        self._rows.clear()
        self._by_uid.clear()
        self._turns.clear()
        self._prompt_cache.clear()
        network, self._network, self._generator = self._network, None, None
        self._masked = MaskedNetwork(None)
        if network is not None:
            release_network(network)
        self._fixed_bytes = 0
        runtime.free_memory()

    def _new_generator(self) -> BatchGenerator:
        generator = BatchGenerator(
            self._masked,
            completion_batch_size=max(self._concurrency, self._chunks.rows),
            prefill_batch_size=self._chunks.rows,
            prefill_step_size=self._chunks.alone,
            stream=mx.default_stream(mx.default_device()),
        )
        # The generator sets Metal's wired limit, with which macOS panics under load (ml-explore/mlx#3186).
        # Closing only restores the limit.
        generator.close()
        return generator

    def _forget(self, active: _ActiveRow) -> None:
        del self._rows[active.row.id]
        active.mask = None  # it refers to the row, with its constraint
        active.processors.clear()
        self._turns.discard(active)
        if active.uid is None:
            return
        del self._by_uid[active.uid]
        if active.uid in self._decoding:
            self._decoding.remove(active.uid)

    def _chunk(self) -> int:
        """Return the prompt tokens to read for one row in the next step, which its rows share."""
        decoding = sum(active.decoding for active in self._by_uid.values())
        reading = max(1, min(self._chunks.rows, len(self._by_uid) - decoding))
        longest = max((active.length for active in self._by_uid.values() if not active.decoding), default=1)
        tokens = self._chunks.together(reading, decoding=decoding > 0)
        return max(1, self._limited(tokens, longest) // reading)

    def _limited(self, tokens: int, length: int) -> int:
        """Return how many of `tokens` a step may read of prompts of at most `length`."""
        tokens = self._chunks.limit(tokens, self._numbers(length), *self._footprint.scores(length))
        return tokens if self._costs is None else self._costs.largest(tokens, length, self._step_limit)

    def _numbers(self, length: int) -> int:
        """Return how many numbers the largest array has for each token that is read of a prompt of `length`: outputs of
        a layer, or scores of the attention."""
        return max(self._widest, self._chunks.score * self._footprint.heads * length)

    def _prefilled_event(self, response: Any) -> Prefilled:
        active = self._by_uid[response.uid]
        total = len(active.row.prompt)
        active.decoding = response.end_of_prompt
        done = total if response.end_of_prompt else min(total, active.begun + response.progress[0])
        active.read = done
        if done in active.checkpoints and response.end_of_segment and not response.end_of_prompt:
            cache, tokens = self._generator.extract_cache([response.uid])[response.uid]
            self._prompt_cache.insert(tokens, cache, shared=True)
        return Prefilled(active.row.id, done, total, 0 if active.scored else active.cached)

    def _logprobs(self, sampled: Sequence[Any]) -> dict[int, Logprobs]:
        """Return the log probabilities of the rows that asked for them, by generator uid."""
        counts = [self._by_uid[response.uid].row.sampling.logprobs for response in sampled]
        wanted = [(response, count) for response, count in zip(sampled, counts, strict=True) if count is not None]
        return logprobs_of(wanted) if wanted else {}

    def _checkpoints(self, prompt: Sequence[int], cached: int) -> list[int]:
        """Return the prompt lengths at which to keep a copy of a cache that cannot be trimmed: before the generation
        prompt, which the next turn may replace, and at the end of the prefix shared with earlier prompts."""
        if self._footprint.trimmable:
            return []
        lengths = {self._prompt_cache.longest_shared_prefix(prompt)}
        if self._generation_prompt and prompt[-len(self._generation_prompt) :] == self._generation_prompt:
            lengths.add(len(prompt) - len(self._generation_prompt))
        return sorted(length for length in lengths if cached < length < len(prompt))


def _sampled_event(active: _ActiveRow, response: Any, logprobs: Logprobs | None) -> Sampled:
    finish: Literal["stop", "length", "complete"] | None = response.finish_reason
    if active.complete and finish != "stop":
        finish = "complete"
    if logprobs is None:
        return Sampled(active.row.id, response.token, finish)
    return Sampled(active.row.id, response.token, finish, logprobs.token, logprobs.top)


@lru_cache(maxsize=_STOP_SEQUENCE_CACHE)
def _stop_sequences(tokens: frozenset[int]) -> StopSequences:
    return StopSequences([(token,) for token in sorted(tokens)])


def logit_count(network: Any) -> int:
    """Return the number of token ids the network has logits for: the last axis of an output that is not evaluated."""
    return int(network(mx.array([[0]]), cache=make_prompt_cache(network)).shape[-1])


def _longest_axis(module: Any) -> int:
    return max((axis for _, array in tree_flatten(module.parameters()) for axis in array.shape), default=1)
