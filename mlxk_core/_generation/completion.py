"""A complete response: the joined events of its stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlxk_core._generation.events import (
    Channel,
    Delta,
    Event,
    Finished,
    FinishReason,
    PromptLogprobs,
    PromptToken,
    Started,
    Timings,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from mlxk_core._generation.request import ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A complete generation. `tokens` has an entry for each content token if logprobs were requested; `prompt_text` is
    the prompt as the model read it, `prompt_tokens` its scored tokens if `prompt_logprobs` were requested."""

    content: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    stop_string: str | None = None
    stop_token: TokenLogprob | None = None
    tokens: tuple[TokenLogprob, ...] = ()
    prompt_text: str = ""
    prompt_tokens: tuple[PromptToken, ...] = ()


def join_events(events: Iterable[Event]) -> Completion:
    """Read a stream to its end and join it. All complete responses are made here, so they always match the stream."""
    texts: dict[Channel, list[str]] = {channel: [] for channel in Channel}
    tokens: list[TokenLogprob] = []
    calls: dict[int, list[ToolCallDelta]] = {}
    prompt_tokens: list[PromptToken] = []
    finished = Finished("cancelled")
    prompt_text = ""
    for event in events:
        match event:
            case Started():
                prompt_text = event.prompt_text
            case PromptLogprobs():
                prompt_tokens.extend(event.tokens)
            case Delta():
                texts[event.channel].append(event.text)
                if event.channel is Channel.CONTENT:
                    tokens.extend(event.tokens)
            case ToolCallDelta():
                calls.setdefault(event.index, []).append(event)
            case Finished():
                finished = event
    return Completion(
        content="".join(texts[Channel.CONTENT]),
        reasoning="".join(texts[Channel.REASONING]),
        tool_calls=tuple(_call(parts) for _, parts in sorted(calls.items())),
        finish_reason=finished.reason,
        usage=finished.usage,
        timings=finished.timings,
        stop_string=finished.stop_string,
        stop_token=finished.stop_token,
        tokens=tuple(tokens),
        prompt_text=prompt_text,
        prompt_tokens=tuple(prompt_tokens),
    )


def _call(parts: list[ToolCallDelta]) -> ToolCall:
    return ToolCall(
        id=next((part.id for part in parts if part.id), ""),
        name="".join(part.name or "" for part in parts),
        arguments="".join(part.arguments for part in parts),
    )
