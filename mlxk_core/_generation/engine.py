"""What a backend provides: one loaded model that decodes many requests, a step at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from mlxk_core._generation.constraint import TokenConstraint
from mlxk_core._generation.request import Message, Sampling, Tool
from mlxk_core._generation.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request as the engine sees it. `id` is unique for the engine's life.

    `constraint` says which tokens may come next. It belongs to this row, and is used on the engine thread only.
    """

    id: int
    prompt: Sequence[int]
    max_tokens: int
    sampling: Sampling
    stop_tokens: frozenset[int] = frozenset()
    constraint: TokenConstraint | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """A token of row `id`.

    `finish` is set on the row's last: "stop" when the token is a stop token, "length" at `max_tokens`, "complete" when
    the row's constraint allows nothing after it. `logprob` and `top` (id, logprob; best first) are there if the row's
    sampling asks for them.
    """

    id: int
    token: int
    finish: Literal["stop", "length", "complete"] | None = None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Prefilled:
    """`done` of row `id`'s `total` prompt tokens are read, `cached` of them taken from an earlier request."""

    id: int
    done: int
    total: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class RowFailed:
    """Row `id` is over: it failed without harm to the others."""

    id: int
    error: Exception


StepEvent = Sampled | Prefilled | RowFailed


class Engine(Protocol):
    """One loaded model.

    `tokenizer`, `native_stops`, `render` and `check` may be used from any thread and touch no accelerator. Everything
    else is called on the engine thread only. A row lives from `add` until its `Sampled.finish`, its `RowFailed`,
    `remove` or `reset`.
    """

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def native_stops(self) -> frozenset[int]:
        """Stop token ids named by the model's own files: the union of every place that names some."""

    @property
    def memory(self) -> int:
        """Bytes held now: weights, running rows and what is kept of earlier prompts."""

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """The conversation as the model's chat template writes it. Raises `TemplateError`; `NoTemplate` without one."""

    def check(self, row: Row) -> None:
        """Raises `InvalidOption` or `InsufficientMemory` if `row` cannot run; `add` relies on it."""

    def add(self, row: Row) -> None:
        """Takes a checked row; it joins at the next step."""

    def step(self) -> Sequence[StepEvent]:
        """One token for every decoding row and at most one chunk of prompt. Raises only when all rows are lost."""

    def remove(self, id: int, /) -> None:
        """Ends a row now; an unknown id is no error."""

    def reset(self) -> None:
        """Drops all rows and whatever a failed step left half done; the weights stay."""

    def close(self) -> None:
        """Gives back the memory. The engine is not used again."""


Pooling = Literal["last", "mean", "cls"]
"""Which hidden states make the vector of an input: the last token's, the mean, or the first token's."""


@runtime_checkable
class EmbeddingEngine(Protocol):
    """What an engine has that can embed, beside the members of `Engine`."""

    def embed(self, inputs: Sequence[Sequence[int]], *, pooling: Pooling, normalize: bool) -> Sequence[Sequence[float]]:
        """Return one vector for each of `inputs`, lists of token ids, in float32; `normalize` makes its length 1.

        Called on the engine thread, between two steps. Raises `UnsupportedModel` if the network has no hidden states.
        """


@dataclass(frozen=True, kw_only=True)
class EngineContext:
    """What a backend gets while it loads a model, on the engine thread.

    `alive` is called now and then while a load advances: it proves life, and raises `Interrupted` if nobody wants
    the model any more. `at_thread_exit` takes a function to call as the engine thread's last act (each one once).
    `cache_bytes` is how much memory the engine may keep for prompts it has read. `concurrency` is the largest number
    of rows it is given at once.
    """

    alive: Callable[[], None]
    at_thread_exit: Callable[[Callable[[], None]], None]
    cache_bytes: int
    concurrency: int
