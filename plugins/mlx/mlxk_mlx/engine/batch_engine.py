"""One loaded network that decodes many rows at once, on mlx-lm's batch generator.

The class knows nothing of how the network came to be: any backend whose models are MLX networks with mlx-lm's
interface (called with tokens and `cache=`, caches from `make_prompt_cache`) can use it. See `MlxEngine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.generate import BatchGenerator, StopSequences
from mlx_lm.models.cache import make_prompt_cache

from mlxk_core.api.backends import EngineContext, Prefilled, Row, RowFailed, Sampled, StepEvent
from mlxk_core.api.errors import InsufficientMemory, InvalidOption
from mlxk_core.api.generation import Message, Tool
from mlxk_mlx.engine import sampling
from mlxk_mlx.engine.prompt_cache import Cache, PromptCache
from mlxk_mlx.engine.template import ChatTemplate
from mlxk_mlx.engine.tokenizer import TokenizerAdapter
from mlxk_mlx.loading import runtime

_MOST_STOPS = 64
_SMALLEST_CHUNK = 16


@dataclass(frozen=True, slots=True)
class _Chunks:
    """How many prompt tokens a step may read, all rows together: while others decode, and else.

    A step is how long a cancelled request and a waiting one have to wait, and how long others fall silent.
    """

    beside_others: int
    alone: int
    rows: int

    @classmethod
    def of(cls, parameters: int) -> _Chunks:
        """From the device and the network's size only, so that a prompt is cut in the same way every time.

        On a CPU a step alone is to take about a second: an old core does some 30 GFLOP/s with OpenBLAS, and 3 without.
        However small the network, attention to a long context costs too, so no chunk is larger than 512.
        """
        machine = runtime.start()
        if not machine.cpu:
            return cls(beside_others=256, alone=2048, rows=4)
        tokens = (18e9 if machine.fast_blas else 2e9) / max(1, parameters)
        alone = next((size for size in (512, 256, 128, 64) if size <= tokens), _SMALLEST_CHUNK)
        return cls(beside_others=max(_SMALLEST_CHUNK, min(256, alone // 2)), alone=alone, rows=8)


@dataclass(slots=True)
class _Running:
    row: Row
    uid: int
    cached: int
    checkpoints: frozenset[int]
    decoding: bool = False
    failure: Exception | None = field(default=None)

    def fail(self, error: Exception) -> None:
        self.failure = error


class MlxEngine:
    """`mlxk_core.api.backends.Engine` over an MLX network.

    `network` is ready to run (`mlxk_mlx.loading.load.prepare`): its arrays are evaluated. `native_stops` are the stop
    tokens its files name, `template` writes its conversations. Made and used on the engine thread.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: TokenizerAdapter,
        *,
        native_stops: frozenset[int],
        template: ChatTemplate,
        context: EngineContext,
    ) -> None:
        self.tokenizer = tokenizer
        self.native_stops = native_stops
        self._network = network
        self._template = template
        self._concurrency = context.concurrency
        weights = [array for _, array in tree_flatten(network.parameters())]
        self._weight_bytes = sum(array.nbytes for array in weights)
        self._footprint = _Footprint.of(network)
        self._chunks = _Chunks.of(sum(array.size for array in weights))
        self._prefixes = PromptCache(context.cache_bytes)
        self._opening = self._answer_opening()
        self._rows: dict[int, _Running] = {}
        self._by_uid: dict[int, _Running] = {}
        self._generator = self._new_generator()
        # Without it the end of the thread aborts the process: MLX's compile cache outlives the interpreter's state.
        context.at_thread_exit(mx.clear_streams)

    @property
    def memory(self) -> int:
        return self._weight_bytes + int(self._generator.prompt_cache_nbytes) + self._prefixes.nbytes

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        return self._template.render(messages, tools=tools, generation_prompt=generation_prompt, options=options)

    def check(self, row: Row) -> None:
        if not row.prompt:
            raise InvalidOption("prompt", "is empty: there is nothing to continue")
        if row.max_tokens < 1:
            raise InvalidOption("max_tokens", f"must be 1 or more, not {row.max_tokens}")
        vocab_size = self.tokenizer.vocab_size
        if min(row.prompt) < 0 or max(row.prompt) >= vocab_size:
            raise InvalidOption("prompt", f"holds a token that is none: the model has {vocab_size}, from 0 on")
        sampling.check(row.sampling, vocab_size)
        self._footprint.check(len(row.prompt))

    def add(self, row: Row) -> None:
        prompt = list(row.prompt)
        cache, cached = self._prefixes.take(prompt)
        rest = prompt[cached:]
        checkpoints = self._checkpoints(prompt, cached)
        running = _Running(row, -1, cached, frozenset(checkpoints))
        processors = [
            sampling.Guarded(processor, running.fail)
            for processor in sampling.processors_for(row.sampling, len(prompt))
        ]
        cuts = [0, *(checkpoint - cached for checkpoint in checkpoints), len(rest)]
        [uid] = self._generator.insert_segments(
            [[rest[start:end] for start, end in pairwise(cuts)]],
            max_tokens=[row.max_tokens],
            caches=[cache] if cache is not None else None,
            all_tokens=[prompt[:cached]],
            samplers=[sampling.sampler_for(row.sampling, self.tokenizer.vocab_size)],
            logits_processors=[processors],
            stop_sequences=[_stop_sequences(row.stop_tokens)],
        )
        running.uid = uid
        self._rows[row.id] = self._by_uid[uid] = running

    def step(self) -> Sequence[StepEvent]:
        if not self._rows:
            return ()
        self._generator.prefill_batch_size = self._prompts_at_once()
        self._generator.prefill_step_size = self._chunk()
        read, sampled = self._generator.next()
        failed = [running for running in self._rows.values() if running.failure is not None]
        events: list[StepEvent] = [self._prefilled(response) for response in read]
        details = self._logprobs(sampled)
        for response in sampled:
            running = self._by_uid[response.uid]
            logprob, top = details.get(response.uid, (None, ()))
            if running.failure is None:
                events.append(Sampled(running.row.id, response.token, response.finish_reason, logprob, top))
            if response.finish_reason is not None:
                self._forget(running)
                self._prefixes.put(response.all_tokens, response.prompt_cache)
        for running in failed:
            events = [event for event in events if event.id != running.row.id]
            events.append(RowFailed(running.row.id, running.failure))
            if running.row.id in self._rows:
                self._generator.remove([running.uid])
                self._forget(running)
        return events

    def remove(self, id: int, /) -> None:
        running = self._rows.get(id)
        if running is None:
            return
        self._forget(running)
        held = self._generator.remove([running.uid], return_prompt_caches=True)
        cache, tokens = held.get(running.uid, (None, []))
        if cache is not None:  # who stopped an answer often asks on from there
            self._prefixes.put(tokens, cache)

    def reset(self) -> None:
        self._rows.clear()
        self._by_uid.clear()
        self._prefixes.clear()
        self._generator = self._new_generator()
        mx.clear_cache()

    def close(self) -> None:
        self._rows.clear()
        self._by_uid.clear()
        self._prefixes.clear()
        self._generator = self._network = None
        self._weight_bytes = 0
        runtime.free_memory()

    def _new_generator(self) -> BatchGenerator:
        generator = BatchGenerator(
            self._network,
            completion_batch_size=max(self._concurrency, self._chunks.rows),
            prefill_batch_size=self._chunks.rows,
            prefill_step_size=self._chunks.alone,
            stream=mx.default_stream(mx.default_device()),
        )
        # It sets Metal's wired limit. With that, many rows and much churn of buffers, macOS panics
        # (ml-explore/mlx#3186); closing takes it back, and is all that closing does.
        generator.close()
        return generator

    def _forget(self, running: _Running) -> None:
        del self._rows[running.row.id], self._by_uid[running.uid]

    def _prompts_at_once(self) -> int:
        """mlx-lm 0.32.2 confuses the rows of a sliding window when one that has a history, or that stops at a
        checkpoint, is read beside others: their answers change. Such a row is read by itself."""
        reading = (each for each in self._rows.values() if not each.decoding)
        if self._footprint.forgets and any(each.cached or each.checkpoints for each in reading):
            return 1
        return self._chunks.rows

    def _chunk(self) -> int:
        """Prompt tokens for one row in the next step: rows that are read together share the step."""
        decoding = sum(running.decoding for running in self._rows.values())
        reading = min(self._generator.prefill_batch_size, len(self._rows) - decoding)
        budget = self._chunks.beside_others if decoding else self._chunks.alone
        return max(_SMALLEST_CHUNK, budget // max(1, reading))

    def _prefilled(self, response: Any) -> Prefilled:
        running = self._by_uid[response.uid]
        total = len(running.row.prompt)
        running.decoding = response.end_of_prompt
        done = total if response.end_of_prompt else min(total, running.cached + response.progress[0])
        if done in running.checkpoints and response.end_of_segment and not response.end_of_prompt:
            cache, tokens = self._generator.extract_cache([running.uid])[running.uid]
            self._prefixes.put(tokens, cache, shared=True)
        return Prefilled(running.row.id, done, total, running.cached)

    def _logprobs(self, sampled: Sequence[Any]) -> dict[int, tuple[float, tuple[tuple[int, float], ...]]]:
        """For the rows that ask: one computation for all of them, since one a row costs a third of the throughput."""
        asked = [response for response in sampled if self._by_uid[response.uid].row.sampling.logprobs is not None]
        if not asked:
            return {}
        table = mx.stack([response.logprobs for response in asked]).astype(mx.float32)
        chosen = mx.take_along_axis(table, mx.array([[response.token] for response in asked]), axis=-1)
        most = max(self._by_uid[response.uid].row.sampling.logprobs or 0 for response in asked)
        if most == 0:
            return {response.uid: (value, ()) for response, [value] in zip(asked, chosen.tolist(), strict=True)}
        best = mx.argpartition(-table, most - 1, axis=-1)[:, :most]
        values = mx.take_along_axis(table, best, axis=-1)
        mx.eval(chosen, best, values)
        details = {}
        for response, [value], tokens, row in zip(asked, chosen.tolist(), best.tolist(), values.tolist(), strict=True):
            count = self._by_uid[response.uid].row.sampling.logprobs or 0
            ranked = sorted(zip(tokens, row, strict=True), key=lambda pair: (-pair[1], pair[0]))
            details[response.uid] = (value, tuple(ranked[:count]))
        return details

    def _checkpoints(self, prompt: Sequence[int], cached: int) -> list[int]:
        """Where in the prompt to keep a copy of a cache that cannot be cut back: before the answer's opening, which
        the next turn may write differently, and where this prompt parts from those seen before."""
        if self._footprint.trimmable:
            return []
        places = {self._prefixes.common(prompt)}
        if self._opening and prompt[-len(self._opening) :] == self._opening:
            places.add(len(prompt) - len(self._opening))
        return sorted(place for place in places if cached < place < len(prompt))

    def _answer_opening(self) -> list[int]:
        """The tokens the template writes behind the last turn to open an answer."""
        if self._footprint.trimmable:
            return []
        turn = [Message(role="user", content="x")]
        try:
            closed = self.render(turn, generation_prompt=False)
            opened = self.render(turn)
        except Exception:  # no template: then there is no opening either
            return []
        if not opened.startswith(closed):
            return []
        return self.tokenizer.encode(opened[len(closed) :], add_special_tokens=False)


@dataclass(frozen=True, slots=True)
class _Footprint:
    """What a prompt costs and leaves: bytes for each of its tokens, whether caches can be cut back, and whether some
    forget (a sliding window)."""

    bytes_per_token: float
    trimmable: bool
    forgets: bool

    @classmethod
    def of(cls, network: Any) -> _Footprint:
        """Read off the shapes of one token's pass, which is never computed."""
        cache: Cache = make_prompt_cache(network)
        network(mx.array([[0]]), cache=cache)
        flat = [inner for layer in cache for inner in getattr(layer, "caches", [layer])]
        growing = [layer for layer in flat if not hasattr(layer, "max_size")]
        held = sum(layer.nbytes / layer.keys.shape[2] for layer in growing if getattr(layer, "keys", None) is not None)
        forgets = len(growing) < len(flat)
        return cls(held, not forgets and all(layer.is_trimmable() for layer in flat), forgets)

    def check(self, prompt_tokens: int) -> None:
        """Metal ends the process when memory runs out, so a prompt that cannot fit must not begin."""
        needed = int(self.bytes_per_token * prompt_tokens)
        limit = mx.device_info().get("max_recommended_working_set_size") or mx.get_memory_limit()
        free = max(0, int(limit) - mx.get_active_memory())
        if needed > free:
            raise InsufficientMemory(
                f"Reading {prompt_tokens} prompt tokens takes {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are "
                "free. Shorten the prompt or run a smaller model.",
                needed=needed,
                free=free,
            )


@lru_cache(maxsize=_MOST_STOPS)
def _stop_sequences(tokens: frozenset[int]) -> StopSequences:
    return StopSequences([(token,) for token in sorted(tokens)])


def logit_count(network: Any) -> int:
    """How many ids the network gives a logit: the last axis of an output that is never computed."""
    return int(network(mx.array([[0]]), cache=make_prompt_cache(network)).shape[-1])
