"""The events of one generation, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


class Channel(Enum):
    """Kind of generated text."""

    CONTENT = "content"
    REASONING = "reasoning"


CONTENT = Channel.CONTENT
"""For code that runs for every token: in Python 3.11 an enum member lookup costs as much as a call."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token's natural log probability, and its most likely alternatives, best first.

    `data` is the token's own bytes (None if the tokenizer does not know them); they join to the text. `id` is the token
    id.
    """

    text: str
    logprob: float
    data: bytes | None = None
    top: tuple[TokenLogprob, ...] = ()
    id: int | None = None


@dataclass(frozen=True, slots=True)
class PromptToken:
    """A token of the prompt and its natural log probability after the tokens before it; the first one has None.

    `rank` is 1 for the most likely token; `data` are its bytes, as in `TokenLogprob`.
    """

    id: int
    text: str
    logprob: float | None = None
    rank: int | None = None
    data: bytes | None = None
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptLogprobs:
    """The next tokens of the prompt, scored. Only if the request has `prompt_logprobs`; before the first delta."""

    tokens: Sequence[PromptToken]


@dataclass(slots=True, unsafe_hash=True)  # not frozen: made for every token, at a third of the time
class Delta:
    """More text of one channel. `tokens` is set if logprobs were requested; only then may `text` be empty."""

    channel: Channel
    text: str
    tokens: Sequence[TokenLogprob] = ()


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A part of tool call number `index`. The first part has `id` and `name`; the `arguments` join to JSON text."""

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
    """The prompt is rendered and its row submitted.

    `max_tokens` is the effective budget. `notes` are sentences for the user: a reduced budget, a failed chat template.
    """

    prompt_tokens: int
    max_tokens: int
    reasoning_format: str | None = None
    notes: tuple[str, ...] = ()
    prompt_text: str = ""
    """The prompt as the model reads it, if the request has `echo`."""


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` prompt tokens have been read."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of the engine, including the token that ended the response."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent on loading the model, in the queue, on the prompt, and from the first to the last token."""

    load: float = 0.0
    queue: float = 0.0
    prompt: float = 0.0
    generation: float = 0.0


@dataclass(frozen=True, slots=True)
class UsageUpdate:
    """The token counts so far, with the events that follow. Only if the request asks for it."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a generation that did not fail. `stop_string` is the stop string that ended it, if any, and
    `stop_token` the stop token, if logprobs were requested."""

    reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    stop_string: str | None = None
    stop_token: TokenLogprob | None = None


ExtractorEvent = Delta | ToolCallDelta
Event = Loading | Started | Progress | PromptLogprobs | UsageUpdate | Delta | ToolCallDelta | Finished
