"""What comes out: the events of one answer, in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


class Channel(Enum):
    """Who a piece of text is for."""

    CONTENT = "content"
    REASONING = "reasoning"


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token's natural log probability, and its most likely alternatives, best first.

    `data` is the token's own bytes (None when the tokenizer cannot tell); they join to the text.
    """

    text: str
    logprob: float
    data: bytes | None = None
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of one channel, never empty but for the `tokens` it may carry (only when logprobs were asked for)."""

    channel: Channel
    text: str
    tokens: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of tool call number `index`. The first one of a call has `id` and `name`; `arguments` parts join to JSON."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Loading:
    """The model is being loaded. At most once, before `Started`."""

    model: str


@dataclass(frozen=True, slots=True)
class Started:
    """The prompt is known and the request is with the engine. `max_tokens` is the budget that holds, `notes` are
    sentences for the user (a clamped budget, a chat template that failed)."""

    prompt_tokens: int
    max_tokens: int
    reasoning_format: str | None = None
    notes: tuple[str, ...] = ()
    prompt_text: str = ""
    """The prompt as the model reads it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` prompt tokens have been read."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts: the engine's, up to and with the token that ended the answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds: waiting for the model to load, waiting for a place, reading the prompt, and from first to last token."""

    load: float = 0.0
    queue: float = 0.0
    prompt: float = 0.0
    generation: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of every answer that did not fail. `stop_string` is the text that ended it, if one did."""

    reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    stop_string: str | None = None


ExtractorEvent = Delta | ToolCallDelta
Event = Loading | Started | Progress | Delta | ToolCallDelta | Finished
