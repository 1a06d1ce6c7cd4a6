"""From the events of generations to the bytes of OpenAI's protocols: one writer for chats, one for plain texts."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mlxk_core.api.generation import Channel, Completion, Delta, Event, Finished, TokenLogprob, ToolCallDelta, Usage
from mlxk_core.api.server import EVENT_STREAM, ErrorInfo
from mlxk_serve.http.errors import error_body

DONE = b"data: [DONE]\n\n"
_json = msgspec.json.encode
_IMPOSSIBLE = -9999.0  # OpenAI's word for minus infinity, which JSON has none for


class _EventStream:
    """What both encoders share: server-sent events, and errors as OpenAI writes them."""

    content_type = EVENT_STREAM
    heartbeat = b": still here\n\n"

    def error(self, error: ErrorInfo) -> bytes:
        return b"data: " + error_body(error) + b"\n\n"


@dataclass(frozen=True, kw_only=True)
class Head:
    """What every piece of one answer repeats. `choices` is how many share one prompt."""

    id: str
    model: str
    created: int
    fingerprint: str
    choices: int = 1
    include_usage: bool = False

    def fields(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


@dataclass
class _Chunks:
    """The frame around streamed choices: everything but the choice itself is encoded once."""

    head: Head
    kind: str
    usages: dict[int, Usage] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._before = b"data: " + _json(self.head.fields(self.kind))[:-1] + b',"choices":['
        self._after = b'],"usage":null}\n\n' if self.head.include_usage else b"]}\n\n"

    def chunk(self, choice: bytes) -> bytes:
        return self._before + choice + self._after

    def end(self) -> bytes:
        if not self.head.include_usage:
            return DONE
        usages = [self.usages[index] for index in sorted(self.usages)]
        return self._before + b'],"usage":' + _json(usage_object(usages, self.head.choices)) + b"}\n\n" + DONE


def usage_object(usages: Sequence[Usage], choices: int) -> dict[str, Any]:
    """The token counts of an answer. A prompt counts once, however many choices it has."""
    prompts = usages[::choices]
    prompt, completion = sum(u.prompt_tokens for u in prompts), sum(u.completion_tokens for u in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(u.cached_tokens for u in prompts)},
        "completion_tokens_details": {"reasoning_tokens": sum(u.reasoning_tokens for u in usages)},
    }


class ChatWriter(_EventStream):
    """`chat.completion` and its chunks. Reasoning goes by both names that clients look for, or is left out."""

    def __init__(self, head: Head, *, hide_reasoning: bool = False, logprobs: bool = False) -> None:
        self._head = head
        self._chunks = _Chunks(head, "chat.completion.chunk")
        self._hide_reasoning = hide_reasoning
        self._logprobs = logprobs
        self._begun: set[int] = set()

    def piece(self, index: int, event: Event) -> bytes:
        match event:
            case Delta(channel=Channel.REASONING, text=text):
                if self._hide_reasoning or not text:
                    return b""
                return self._delta(index, b'{"reasoning_content":%b,"reasoning":%b}' % (_json(text), _json(text)))
            case Delta(text=text, tokens=tokens):
                return self._delta(index, b'{"content":%b}' % _json(text), tokens if self._logprobs else ())
            case ToolCallDelta():
                return self._delta(index, _json({"tool_calls": [_call_delta(event)]}))
            case Finished():
                self._chunks.usages[index] = event.usage
                return self._delta(index, b"{}", reason=event.reason)
        return b""

    def end(self) -> bytes:
        return self._chunks.end()

    def whole(self, completions: Sequence[Completion]) -> bytes:
        return _json(
            {
                **self._head.fields("chat.completion"),
                "choices": [
                    {
                        "index": index,
                        "message": self._message(completion),
                        "logprobs": _chat_logprobs(completion.tokens) if self._logprobs else None,
                        "finish_reason": completion.finish_reason,
                    }
                    for index, completion in enumerate(completions)
                ],
                "usage": usage_object([c.usage for c in completions], self._head.choices),
            }
        )

    def _delta(self, index: int, delta: bytes, tokens: Sequence[TokenLogprob] = (), reason: str | None = None) -> bytes:
        choice = b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}' % (
            index,
            delta,
            _json(_chat_logprobs(tokens)) if tokens else b"null",
            _json(reason),
        )
        return self._opening(index) + self._chunks.chunk(choice)

    def _opening(self, index: int) -> bytes:
        if index in self._begun:
            return b""
        self._begun.add(index)
        return self._chunks.chunk(
            b'{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}' % index
        )

    def _message(self, completion: Completion) -> dict[str, Any]:
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in completion.tool_calls
        ]
        message: dict[str, Any] = {
            "role": "assistant",
            "content": completion.content if completion.content or not calls else None,
            "refusal": None,
        }
        if completion.reasoning and not self._hide_reasoning:
            message |= {"reasoning_content": completion.reasoning, "reasoning": completion.reasoning}
        if calls:
            message["tool_calls"] = calls
        return message


def _call_delta(event: ToolCallDelta) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": event.arguments}
    call: dict[str, Any] = {"index": event.index}
    if event.id is not None:
        call |= {"id": event.id, "type": "function"}
    if event.name is not None:
        function = {"name": event.name, **function}
    return call | {"function": function}


def _chat_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    return {
        "content": [
            {**_chat_token(token), "top_logprobs": [_chat_token(top) for top in token.top]} for token in tokens
        ],
        "refusal": None,
    }


def _chat_token(token: TokenLogprob) -> dict[str, Any]:
    return {
        "token": token.text,
        "logprob": max(token.logprob, _IMPOSSIBLE),
        "bytes": None if token.data is None else list(token.data),
    }


class TextWriter(_EventStream):
    """`text_completion`, the same shape streamed and not. `echo` gives the prompt's text of a choice, if asked for."""

    def __init__(self, head: Head, *, echo: Callable[[int], str] | None = None, logprobs: int | None = None) -> None:
        self._head = head
        self._chunks = _Chunks(head, "text_completion")
        self._echo = echo
        self._logprobs = logprobs
        self._offsets: dict[int, int] = {}
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}
        self._begun: set[int] = set()

    def piece(self, index: int, event: Event) -> bytes:
        match event:
            case Delta(channel=Channel.CONTENT, text=text, tokens=tokens):
                return self._opening(index) + self._chunks.chunk(_json(self._choice(index, text, tokens, None)))
            case Finished(reason=reason, usage=usage):
                self._chunks.usages[index] = usage
                return self._opening(index) + self._chunks.chunk(_json(self._choice(index, "", (), reason)))
        return b""

    def end(self) -> bytes:
        return self._chunks.end()

    def whole(self, completions: Sequence[Completion]) -> bytes:
        return _json(
            {
                **self._head.fields("text_completion"),
                "choices": [
                    self._choice(index, self._echoed(index) + c.content, c.tokens, c.finish_reason)
                    for index, c in enumerate(completions)
                ],
                "usage": usage_object([c.usage for c in completions], self._head.choices),
            }
        )

    def _opening(self, index: int) -> bytes:
        if self._echo is None or index in self._begun:
            return b""
        self._begun.add(index)
        return self._chunks.chunk(_json(self._choice(index, self._echoed(index), (), None)))

    def _echoed(self, index: int) -> str:
        return self._echo(index) if self._echo else ""

    def _choice(self, index: int, text: str, tokens: Sequence[TokenLogprob], reason: str | None) -> dict[str, Any]:
        logprobs = self._text_logprobs(index, tokens) if self._logprobs is not None and tokens else None
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}

    def _text_logprobs(self, index: int, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        offsets, offset = [], self._offsets.get(index, 0)
        # A token may be a part of a character, which is one in the text however many tokens it took.
        decoder = self._decoders.setdefault(index, codecs.getincrementaldecoder("utf-8")("replace"))
        for token in tokens:
            offsets.append(offset)
            offset += len(token.text if token.data is None else decoder.decode(token.data))
        self._offsets[index] = offset
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [max(token.logprob, _IMPOSSIBLE) for token in tokens],
            "top_logprobs": [_by_text(token.top) for token in tokens] if self._logprobs else None,
            "text_offset": offsets,
        }


def _by_text(top: Sequence[TokenLogprob]) -> dict[str, float]:
    """The likeliest first; of several with the same text (parts of characters are all the same sign) that one stays."""
    best: dict[str, float] = {}
    for token in top:
        best.setdefault(token.text, max(token.logprob, _IMPOSSIBLE))
    return best
