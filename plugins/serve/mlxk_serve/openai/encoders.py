"""Encoders of OpenAI's protocols: the events of generations as JSON objects and server-sent events."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from mlxk_core.api.generation import (
    Channel,
    Completion,
    Delta,
    Event,
    Finished,
    PromptLogprobs,
    PromptToken,
    Started,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)
from mlxk_core.api.server import EVENT_STREAM, ErrorInfo
from mlxk_protocol.encode import encoded_each
from mlxk_serve.http.errors import error_body
from mlxk_serve.openai.response_objects import (
    CalledFunction,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    ChatLogprobs,
    CompletionTokensDetails,
    FinishReason,
    FunctionDelta,
    PromptLogprob,
    PromptLogprobsList,
    PromptTokensDetails,
    ResponseMessage,
    ResponseToolCall,
    TextChoice,
    TextCompletion,
    TextLogprobs,
    TokenLogprobObject,
    ToolCallDeltaObject,
    TopLogprob,
    UsageObject,
)

DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode
_PLACE = "text"
_CONTENT = Channel.CONTENT  # in Python 3.11 looking up a member takes as long as a call
_LOWEST = -9999.0  # OpenAI's stand-in for minus infinity, which JSON cannot express


@dataclass(frozen=True, kw_only=True)
class Head:
    """Fields that every event of a response repeats. `choices` is the number of choices per prompt."""

    id: str
    model: str
    created: int
    fingerprint: str
    choices: int = 1
    include_usage: bool = False
    continuous_usage: bool = False

    @property
    def fields(self) -> dict[str, Any]:
        """Return the first fields of every object."""
        return {
            "id": self.id,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


class _EventStream:
    """Base of both encoders: the frame around streamed choices, usage, and OpenAI's errors.

    Everything but the choice itself is encoded once.
    """

    content_type = EVENT_STREAM
    heartbeat = b": still here\n\n"

    def __init__(self, head: Head, frame: Callable[..., msgspec.Struct]) -> None:
        self._head = head
        self._usages: dict[int, Usage] = {}
        usage = None if head.include_usage else UNSET
        self._before, _, self._after = _event(_encode(frame(**head.fields, choices=[], usage=usage))).partition(
            b'"choices":[]'
        )
        self._before += b'"choices":['
        self._after = b"]" + self._after
        self._frame = frame

    def error(self, error: ErrorInfo) -> bytes:
        return _event(error_body(error))

    def end(self) -> bytes:
        if not self._head.include_usage:
            return DONE
        usages = [self._usages[index] for index in sorted(self._usages)]
        usage = usage_object(usages, self._head.choices)
        return _event(_encode(self._frame(**self._head.fields, choices=[], usage=usage))) + DONE

    def _chunk(self, choice: msgspec.Struct) -> bytes:
        if not self._head.continuous_usage:
            return self._before + _encode(choice) + self._after
        usages = [self._usages[index] for index in sorted(self._usages)]
        usage = _encode(usage_object(usages, self._head.choices)) if usages else b"null"
        return self._before + _encode(choice) + b'],"usage":' + usage + b"}\n\n"


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def usage_object(usages: Sequence[Usage], choices: int) -> UsageObject:
    """Return the token counts of a response, of which `choices` generations share one prompt."""
    prompts = usages[::choices]
    prompt, completion = sum(u.prompt_tokens for u in prompts), sum(u.completion_tokens for u in usages)
    return UsageObject(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptTokensDetails(sum(u.cached_tokens for u in prompts)),
        completion_tokens_details=CompletionTokensDetails(sum(u.reasoning_tokens for u in usages)),
    )


class ChatEncoder(_EventStream):
    """`chat.completion` and its chunks. Reasoning has both names that clients read, or is left out."""

    def __init__(
        self,
        head: Head,
        *,
        hide_reasoning: bool = False,
        logprobs: bool = False,
        prompt_logprobs: int | None = None,
    ) -> None:
        super().__init__(head, ChatCompletionChunk)
        self._hide_reasoning = hide_reasoning
        self._logprobs = logprobs
        self._prompt_logprobs = prompt_logprobs
        self._plain = not head.continuous_usage
        self._content: dict[int, tuple[bytes, bytes]] = {}
        """By choice: what precedes and what follows the text in an event that has nothing else."""

    def piece(self, index: int, event: Event) -> bytes:
        if type(event) is Delta and event.channel is _CONTENT and not event.tokens and self._plain:
            before, after = self._content.get(index) or self._content_frame(index)
            return before + _encode(event.text) + after
        match event:
            case Delta(channel=Channel.CONTENT, text=text, tokens=tokens):
                logprobs = chat_logprobs(tokens) if tokens and self._logprobs else None
                return self._chunk(ChatChunkChoice(index=index, delta=ChatDelta(content=text), logprobs=logprobs))
            case Delta(text=text):
                if self._hide_reasoning or not text:
                    return b""
                return self._chunk(
                    ChatChunkChoice(index=index, delta=ChatDelta(reasoning_content=text, reasoning=text))
                )
            case ToolCallDelta():
                return self._chunk(ChatChunkChoice(index=index, delta=ChatDelta(tool_calls=[_tool_call_delta(event)])))
            case Started():
                return self._chunk(ChatChunkChoice(index=index, delta=ChatDelta(role="assistant", content="")))
            case UsageUpdate(usage=usage):
                self._usages[index] = usage
            case Finished(reason=reason, usage=usage):
                self._usages[index] = usage
                finish = cast(FinishReason, reason)
                return self._chunk(ChatChunkChoice(index=index, delta=ChatDelta(), finish_reason=finish))
        return b""

    def _content_frame(self, index: int) -> tuple[bytes, bytes]:
        text = _encode(_PLACE)
        chunk = self._chunk(ChatChunkChoice(index=index, delta=ChatDelta(content=_PLACE)))
        before, _, after = chunk.rpartition(text)
        self._content[index] = frame = (before, after)
        return frame

    def whole(self, completions: Sequence[Completion]) -> bytes:
        choices = [
            ChatChoice(
                index,
                self._message(completion),
                chat_logprobs(completion.tokens) if self._logprobs else None,
                cast(FinishReason, completion.finish_reason),
            )
            for index, completion in enumerate(completions)
        ]
        usage = usage_object([c.usage for c in completions], self._head.choices)
        scored = prompt_logprobs(completions[0].prompt_tokens, self._prompt_logprobs)
        return _encode(ChatCompletion(**self._head.fields, choices=choices, usage=usage, prompt_logprobs=scored))

    def _message(self, completion: Completion) -> ResponseMessage:
        calls = [ResponseToolCall(call.id, CalledFunction(call.name, call.arguments)) for call in completion.tool_calls]
        reasoning = completion.reasoning if completion.reasoning and not self._hide_reasoning else UNSET
        return ResponseMessage(
            content=completion.content if completion.content or not calls else None,
            reasoning_content=reasoning,
            reasoning=reasoning,
            tool_calls=calls or UNSET,
        )


def _tool_call_delta(event: ToolCallDelta) -> ToolCallDeltaObject:
    return ToolCallDeltaObject(
        index=event.index,
        id=UNSET if event.id is None else event.id,
        type=UNSET if event.id is None else "function",
        function=FunctionDelta(name=UNSET if event.name is None else event.name, arguments=event.arguments),
    )


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> ChatLogprobs:
    """Return the log probabilities of a chat response."""
    return ChatLogprobs(
        encoded_each(
            TokenLogprobObject(
                token.text,
                max(token.logprob, _LOWEST),
                _bytes(token),
                [TopLogprob(top.text, max(top.logprob, _LOWEST), _bytes(top)) for top in token.top],
            )
            for token in tokens
        )
    )


def prompt_logprobs(tokens: Sequence[PromptToken], alternatives: int | None) -> PromptLogprobsList | UnsetType:
    """Return the scores of a prompt with that many alternatives a token; nothing if none were requested."""
    if alternatives is None:
        return UNSET
    return encoded_each(None if token.logprob is None else _by_id(token, alternatives) for token in tokens)


def _by_id(token: PromptToken, alternatives: int) -> dict[str, PromptLogprob]:
    found = {
        str(top.id): PromptLogprob(max(top.logprob, _LOWEST), rank, top.text)
        for rank, top in enumerate(token.top[:alternatives], start=1)
    }
    assert token.logprob is not None
    assert token.rank is not None
    found.setdefault(str(token.id), PromptLogprob(max(token.logprob, _LOWEST), token.rank, token.text))
    return found


def _bytes(token: TokenLogprob) -> list[int] | None:
    return None if token.data is None else list(token.data)


class TextEncoder(_EventStream):
    """`text_completion`, in one shape streamed and not. `echo` puts the prompt before the text of each choice."""

    def __init__(
        self, head: Head, *, echo: bool = False, logprobs: int | None = None, prompt_logprobs: int | None = None
    ) -> None:
        super().__init__(head, TextCompletion)
        self._echo = echo
        self._logprobs = logprobs
        self._prompt_logprobs = prompt_logprobs
        self._offsets: dict[int, int] = {}
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}

    def piece(self, index: int, event: Event) -> bytes:
        match event:
            case Delta(channel=Channel.CONTENT, text=text, tokens=tokens):
                return self._chunk(self._choice(index, text, [tokens], None))
            case Started(prompt_text=text):
                return self._chunk(self._choice(index, text, [], None)) if self._echo else b""
            case PromptLogprobs(tokens=tokens):
                if self._echo and self._logprobs is not None:
                    return self._chunk(self._choice(index, "", [tokens], None))
            case UsageUpdate(usage=usage):
                self._usages[index] = usage
            case Finished(reason=reason, usage=usage, stop_token=stop_token):
                self._usages[index] = usage
                return self._chunk(self._choice(index, "", [self._end_tokens(stop_token)], reason))
        return b""

    def whole(self, completions: Sequence[Completion]) -> bytes:
        choices = [
            self._choice(
                index,
                (c.prompt_text if self._echo else "") + c.content,
                [c.prompt_tokens, c.tokens, self._end_tokens(c.stop_token)] if self._echo else [c.tokens],
                c.finish_reason,
            )
            for index, c in enumerate(completions)
        ]
        for choice, completion in zip(choices, completions, strict=True):
            choice.prompt_logprobs = prompt_logprobs(completion.prompt_tokens, self._prompt_logprobs)
        usage = usage_object([c.usage for c in completions], self._head.choices)
        return _encode(TextCompletion(**self._head.fields, choices=choices, usage=usage))

    def _end_tokens(self, stop_token: TokenLogprob | None) -> tuple[TokenLogprob, ...]:
        """The stop token has no text in the response. With `echo` it has an entry: clients count the tokens after the
        prompt (lm-evaluation-harness drops the last one)."""
        return (stop_token,) if self._echo and stop_token is not None else ()

    def _choice(
        self, index: int, text: str, parts: Sequence[Sequence[TokenLogprob | PromptToken]], reason: str | None
    ) -> TextChoice:
        logprobs = self._text_logprobs(index, parts) if self._logprobs is not None and any(parts) else None
        return TextChoice(text, index, logprobs, cast("FinishReason | None", reason))

    def _text_logprobs(self, index: int, parts: Sequence[Sequence[TokenLogprob | PromptToken]]) -> TextLogprobs:
        offset = self._offsets.get(index, 0)
        # A token may be part of a character, which is one in the text however many tokens it took.
        decoder = self._decoders.setdefault(index, codecs.getincrementaldecoder("utf-8")("replace"))
        found = TextLogprobs([], [], [] if self._logprobs else None, [])
        for token in chain.from_iterable(parts):  # once: they may be packed
            found.text_offset.append(offset)
            offset += len(token.text if token.data is None else decoder.decode(token.data))
            found.tokens.append(token.text)
            found.token_logprobs.append(None if token.logprob is None else max(token.logprob, _LOWEST))
            if self._logprobs and found.top_logprobs is not None:
                found.top_logprobs += encoded_each([_by_text(token, self._logprobs)])
        self._offsets[index] = offset
        return found


def _by_text(token: TokenLogprob | PromptToken, alternatives: int) -> dict[str, float] | None:
    """Return alternatives by text, the likeliest first, and the token itself, as OpenAI does. The likeliest stays where
    several have one text (parts of characters)."""
    if token.logprob is None:
        return None
    best: dict[str, float] = {}
    for top in token.top[:alternatives]:
        best.setdefault(top.text, max(top.logprob, _LOWEST))
    best.setdefault(token.text, max(token.logprob, _LOWEST))
    return best
