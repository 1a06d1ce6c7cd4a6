"""The engine protocol: one loaded model that decodes many rows, a step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from mlxk_core._generation.constraint import TokenConstraint
from mlxk_core._generation.request import Message, Sampling, Tool
from mlxk_core._generation.tokenizer import Tokenizer, TokenPair


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sequence to decode. `id` is unique for the engine's life.

    `prompt` has one token id or more, each in `range(tokenizer.vocab_size)`; `stop_tokens` may contain others.
    `max_tokens` counts generated tokens. `constraint` says which tokens may come next; it belongs to this row and is
    used on the engine thread only. `prompt_logprobs` asks for the log probability of each prompt token and of that many
    alternatives (None: do not compute); only then may `max_tokens` be 0. Only backends whose spec says
    `prompt_logprobs` get such rows.
    """

    id: int
    prompt: Sequence[int]
    max_tokens: int
    sampling: Sampling
    stop_tokens: frozenset[int] = frozenset()
    constraint: TokenConstraint | None = None
    prompt_logprobs: int | None = None


@dataclass(slots=True, unsafe_hash=True)  # not frozen: made for every token, at a third of the time
class Sampled:
    """A generated token of row `id`.

    `finish` is set on the row's last token: "stop" for a stop token, "length" at `max_tokens`, "complete" when the
    row's constraint allows nothing after it. `logprob` (natural logarithm) and `top` (pairs of token id and logprob,
    best first) are set if the row's sampling asks for them.
    """

    id: int
    token: int
    finish: Literal["stop", "length", "complete"] | None = None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Prefilled:
    """`done` of the `total` prompt tokens of row `id` are read; `cached` of them came from the prompt cache."""

    id: int
    done: int
    total: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class RowFailed:
    """Row `id` has ended with `error`; the other rows continue."""

    id: int
    error: Exception


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """Prompt token `token`: its natural log probability after the tokens before it, its rank (1: the most likely), and
    the most likely alternatives (pairs of token id and logprob, best first)."""

    token: int
    logprob: float
    rank: int
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class PromptScored:
    """The next prompt tokens of row `id`, in order and without the first one, which follows nothing.

    `finish` is set on the last event of a row with `max_tokens` 0, which has no `Sampled`.
    """

    id: int
    tokens: Sequence[ScoredToken]
    finish: bool = False


StepEvent = Sampled | Prefilled | PromptScored | RowFailed


class Render(Protocol):
    """Writes conversations as a model's chat template does: `Engine.render`."""

    def __call__(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str: ...


class Engine(Protocol):
    """One loaded model.

    `tokenizer`, `native_stops`, `render` and `check` may be used from any thread and do not use the accelerator.
    Everything else is called on the engine thread only. A row is active from `add` until its `Sampled.finish`,
    `PromptScored.finish`, `RowFailed`, `remove` or `reset`. Errors other than `MlxkError` are reported as failures of
    the backend's plugin.
    """

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer: the same object every time, safe to use from several threads at once."""

    @property
    def native_stops(self) -> frozenset[int]:
        """Stop token ids that the model's own files declare: the union over all of them."""

    @property
    def memory(self) -> int:
        """Bytes held now: weights, active rows and the prompt cache."""

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the conversation as the model's chat template writes it.

        Without `generation_prompt` the last turn is closed. `options` are variables of the template. Raises
        `TemplateError` if the template rejects the conversation, `NoTemplate` if there is none.
        """

    def check(self, row: Row) -> None:
        """Raise `InvalidOption` or `InsufficientMemory` if `row` cannot run. Called before `add`.

        The rules that hold for every engine are `mlxk_core.api.backends.check_row`: call it first.
        """

    def add(self, row: Row) -> None:
        """Accept a checked row. It joins the batch at the next step."""

    def step(self) -> Sequence[StepEvent]:
        """Compute one token for every decoding row and at most one chunk of a prompt; return the events of all rows.

        Raises only if all rows are lost: `reset` is called next. Events of rows that are not active are ignored.
        """

    def remove(self, id: int, /) -> None:
        """End a row now. An unknown id has no effect."""

    def reset(self) -> None:
        """Drop all rows and the state of an unfinished step. The weights stay loaded."""

    def close(self) -> None:
        """Release the memory. The engine is not used again."""


Pooling = Literal["last", "mean", "cls"]
"""Which hidden states make the vector of an input: the last token's, the mean, or the first token's."""


@runtime_checkable
class PromptCachingEngine(Protocol):
    """Additional members of an engine that keeps the state of prompts between requests."""

    @property
    def prompt_cache_bytes(self) -> int:
        """Bytes of its prompt cache now; they are part of `memory`."""

    def drop_prompts(self, size: int, /) -> int:
        """Drop entries of its prompt cache that take `size` bytes or more, the oldest first, or all. Return the bytes
        that became free. Called on the engine thread."""


@runtime_checkable
class RowMemoryEngine(Protocol):
    """Additional member of an engine whose rows take memory that grows with their tokens."""

    def row_bytes(self, row: Row, /) -> int:
        """Return the bytes by which `memory` grows if `row` is added now and every row gets some more tokens. Called on
        the engine thread, before `add`."""


@runtime_checkable
class EmbeddingEngine(Protocol):
    """Additional members of an engine that can embed."""

    def embed(
        self, inputs: Sequence[Sequence[int]], *, pooling: Pooling, normalize: bool
    ) -> Iterator[Sequence[Sequence[float]] | None]:
        """Yield None after each part of the work, and at last one vector for each of `inputs`, lists of token ids.

        Vectors are float32; `normalize` makes their length 1. Called on the engine thread, where each part runs between
        two steps and should take no longer than one. Raises `UnsupportedModel` if the network has no hidden states, and
        `BrokenModel` for an id that the model lacks: a tokenizer's files can contain any.
        """


@runtime_checkable
class CrossEncoderEngine(Protocol):
    """Additional members of an engine whose network reads two texts and has one output. Its tokenizer is a
    `PairTokenizer`."""

    def score(self, pairs: Sequence[TokenPair]) -> Iterator[Sequence[float] | None]:
        """Yield None after each part of the work, and at last the logit of each pair. Called like `embed`."""


@runtime_checkable
class NextTokenEngine(Protocol):
    """Additional members of an engine that returns the logits of tokens without sampling."""

    def next_token_logits(
        self, inputs: Sequence[Sequence[int]], tokens: Sequence[int]
    ) -> Iterator[Sequence[Sequence[float]] | None]:
        """Yield None after each part of the work, and at last the logits of `tokens` after each of `inputs`.

        Called like `embed`.
        """


@runtime_checkable
class InputMemoryEngine(Protocol):
    """Additional member of an engine that holds memory between the parts of `embed`, `score` or `next_token_logits`."""

    def input_bytes(self, lengths: Sequence[int], /) -> int:
        """Return the bytes, besides `memory`, that it holds until inputs of so many tokens, computed together, are
        done. Called on the engine thread, before their first part."""


@dataclass(frozen=True, kw_only=True)
class EngineContext:
    """Resources for a backend that loads a model, on the engine thread.

    Call `alive()` a few times per second during a load: other models continue meanwhile, and it raises `Interrupted`
    when no request waits for the model any more. `at_thread_exit(function)` registers a function to call when the
    engine thread ends, each function once. `cache_bytes` limits the prompt cache, in bytes. `concurrency` is the
    largest number of rows that are active at once. `memory` is what the model may take in bytes, None without a limit:
    what `estimate` could not tell is found while it is loaded. `shared` says that clients of other models depend on
    this process: no model may end it, or keep it busy.
    """

    alive: Callable[[], None]
    at_thread_exit: Callable[[Callable[[], None]], None]
    cache_bytes: int
    concurrency: int
    shared: bool = False
    memory: int | None = None
