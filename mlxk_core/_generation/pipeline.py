"""From tokens to text: detokenize, split into channels, and end at a stop string. One pipeline per request."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from mlxk_core._errors import MlxkError, PluginFailure
from mlxk_core._generation.engine import Sampled, ScoredToken
from mlxk_core._generation.events import (
    Channel,
    Delta,
    ExtractorEvent,
    FinishReason,
    PromptToken,
    TokenLogprob,
    ToolCallDelta,
)
from mlxk_core._generation.extractor import Extractor
from mlxk_core._generation.stops import StopStrings
from mlxk_core._generation.tokenizer import Tokenizer
from mlxk_core._generation.tool_call_filter import ToolCallFilter

_LONGEST_TOKEN = 1 << 16
"""Characters that one token may complete; those of real vocabularies have some hundreds."""


class VerbatimAnswer:
    """The extractor of a constrained answer: `inner` reads the reasoning, and the answer is passed on as it is.

    A value may contain any text, also what would be a marker outside of it.
    """

    def __init__(self, inner: Extractor) -> None:
        self._inner: Extractor | None = inner

    @property
    def channel(self) -> Channel | None:
        return Channel.CONTENT if self._inner is None else self._inner.channel

    def feed(self, text: str, /) -> Iterable[ExtractorEvent]:
        if self._inner is None:
            if text:
                yield Delta(Channel.CONTENT, text)
            return
        answered = False
        for event in self._inner.feed(text):
            yield event
            answered = answered or (
                isinstance(event, Delta) and event.channel is Channel.CONTENT and not event.text.isspace()
            )
        if answered:
            yield from self.close()

    def close(self) -> Iterable[ExtractorEvent]:
        inner, self._inner = self._inner, None
        return () if inner is None else inner.close()


def _named(extractor: object, error: Exception) -> PluginFailure:
    """Return what an extractor raised as the failure of the plugin it comes from."""
    made = extractor if isinstance(extractor, type) else type(extractor)
    name = f"{made.__module__}.{made.__qualname__}"
    failure = PluginFailure(
        f"The reasoning format of this model failed on the answer: {name} raised {type(error).__name__}: {error}. "
        "--reasoning-format none does without it.",
        extractor=name,
    )
    failure.__cause__ = error
    return failure


class failures_named:
    """Report what an extractor raises as the failure of the plugin it comes from."""

    __slots__ = ("_extractor",)

    def __init__(self, extractor: object) -> None:
        self._extractor = extractor

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, MlxkError):
            raise _named(self._extractor, error) from error


def _check(event: ExtractorEvent) -> None:
    """Raise `TypeError` for an event that no consumer could use."""
    match event:
        case Delta(channel=Channel(), text=str()) | ToolCallDelta(index=int(), arguments=str()):
            return
    raise TypeError(f"{type(event).__name__} is not an event of a format, or has a field of the wrong type")


class TextPipeline:
    """The text of one response. Feed tokens in order until `reason` is set.

    `reason` is why the response ended, `stop_string` the text that ended it, `stop_token` the scored token that did.
    """

    def __init__(self, tokenizer: Tokenizer, extractor: Extractor, stops: StopStrings, calls: ToolCallFilter) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = tokenizer.detokenizer()
        self._extractor = extractor
        self._stops = stops.matcher()
        self._calls = calls
        self._logprobs: list[TokenLogprob] = []
        self._undecided = 0
        self._channel = self._channel_now()
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        self.reason: FinishReason | None = None
        self.stop_string: str | None = None
        self.stop_token: TokenLogprob | None = None

    def feed(self, sampled: Sampled) -> list[ExtractorEvent]:
        """Return the events that one token completes."""
        events: list[ExtractorEvent] = []  # lists, not generators: this runs for every token of every stream
        if self.reason is not None:
            return events
        self.completion_tokens += 1
        if sampled.finish == "stop":
            self.stop_token = self._logprob(sampled) if sampled.logprob is not None else None
            yield from self.finish("stop")
            return
            return self.finish("stop")
