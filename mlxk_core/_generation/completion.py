"""A complete response: the joined events of its stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

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
from mlxk_core._generation.packed_tokens import PackedTokens
from mlxk_core._generation.request import ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A complete generation. `tokens` has an entry for each content token if logprobs were requested; `prompt_text` is
    the prompt as the model read it, `prompt_tokens` its scored tokens if `prompt_logprobs` were requested. `parts` are
    its texts and calls in the order of the stream, each whole."""

    content: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    parts: tuple[Delta | ToolCallDelta, ...]
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    stop_string: str | None = None
    stop_token: TokenLogprob | None = None
    tokens: Sequence[TokenLogprob] = ()
    prompt_text: str = ""
    prompt_tokens: Sequence[PromptToken] = ()


def join_runs(events: Iterable[Event]) -> list[Event]:
    """Return `events` with neighbouring deltas of one text or call joined, and without those that no complete response
    has: `join_events` makes the same of them."""
    joined: list[Event] = []
    for is_delta, run in groupby(events, lambda event: isinstance(event, (Delta, ToolCallDelta))):
        if is_delta:
            deltas = (event for event in run if isinstance(event, (Delta, ToolCallDelta)))
            joined += [_joined(list(pieces)) for _, pieces in groupby(deltas, _key)]
        else:
            joined += [event for event in run if isinstance(event, (Started, PromptLogprobs, Finished))]
    return joined


def join_events(events: Iterable[Event]) -> Completion:
    """Read a stream to its end and join it. All complete responses are made here, so they always match the stream."""
    pieces: list[list[Delta | ToolCallDelta]] = []
    calls: dict[int, list[ToolCallDelta]] = {}
    prompt_tokens: list[Sequence[PromptToken]] = []
    finished = Finished("cancelled")
    prompt_text = ""
    for event in events:
        match event:
            case Started():
                prompt_text = event.prompt_text
            case PromptLogprobs():
                prompt_tokens.append(event.tokens)
            case Delta() | ToolCallDelta():
                if not pieces or _key(pieces[-1][0]) != _key(event):
                    pieces.append([])
                pieces[-1].append(event)
                if isinstance(event, ToolCallDelta):
                    calls.setdefault(event.index, []).append(event)
            case Finished():
                finished = event
    parts = tuple(map(_joined, pieces))
    texts = [part for part in parts if isinstance(part, Delta)]
    content = [text for text in texts if text.channel is Channel.CONTENT]
    return Completion(
        content="".join(text.text for text in content),
        reasoning="".join(text.text for text in texts if text.channel is Channel.REASONING),
        tool_calls=tuple(_call(deltas) for _, deltas in sorted(calls.items())),
        parts=parts,
        finish_reason=finished.reason,
        usage=finished.usage,
        timings=finished.timings,
        stop_string=finished.stop_string,
        stop_token=finished.stop_token,
        tokens=PackedTokens.joined(text.tokens for text in content),
        prompt_text=prompt_text,
        prompt_tokens=PackedTokens.joined(prompt_tokens),
    )


def _key(event: Delta | ToolCallDelta) -> Channel | int:
    return event.index if isinstance(event, ToolCallDelta) else event.channel


def _joined(pieces: Sequence[Delta | ToolCallDelta]) -> Delta | ToolCallDelta:
    """Return the events of one text or of one call as one event."""
    first = pieces[0]
    if isinstance(first, ToolCallDelta):
        call = _call([piece for piece in pieces if isinstance(piece, ToolCallDelta)])
        return ToolCallDelta(first.index, call.id or None, call.name or None, call.arguments)
    texts = [piece for piece in pieces if isinstance(piece, Delta)]
    tokens = PackedTokens.joined(text.tokens for text in texts)
    return Delta(first.channel, "".join(text.text for text in texts), tokens)


def _call(parts: Sequence[ToolCallDelta]) -> ToolCall:
    return ToolCall(
        id=next((part.id for part in parts if part.id), ""),
        name="".join(part.name or "" for part in parts),
        arguments="".join(part.arguments for part in parts),
    )
