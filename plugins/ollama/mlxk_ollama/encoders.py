"""Events of a generation as Ollama streams them: one JSON document a line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from mlxk_core.api.generation import (
    Channel,
    Completion,
    Delta,
    Event,
    Finished,
    FinishReason,
    Timings,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from mlxk_core.api.server import NDJSON, ErrorInfo
from mlxk_protocol.arguments import arguments_object
from mlxk_protocol.encode import encoded_each

_json = msgspec.json.encode
_NANOSECONDS = 1_000_000_000
_LOWEST = -9999.0  # a stand-in for minus infinity, which JSON cannot express


def timestamp(moment: datetime | None = None) -> str:
    """Return a time as Ollama writes it: RFC 3339, in UTC."""
    return (moment or datetime.now(UTC)).isoformat().replace("+00:00", "Z")


def encode_error(error: ErrorInfo) -> bytes:
    """Return Ollama's error object, one line."""
    return _json({"error": error.message})


class _Encoder(ABC):
    """Base of the chat and text encoders. Calls are written whole, as Ollama does."""

    content_type = NDJSON
    heartbeat = b""

    def __init__(self, model: str, *, thinking: bool) -> None:
        self._model = model
        self._thinking = thinking
        self._call: tuple[int, str, list[str]] | None = None

    @abstractmethod
    def part(self, *, content: str = "", thinking: str = "", calls: Sequence[Any] = ()) -> dict[str, Any]:
        """Return the fields of one piece of a response."""

    def piece(self, index: int, event: Event) -> bytes:
        """Return the lines that `event` adds to the stream."""
        match event:
            case Delta(channel=Channel.REASONING, text=text):
                return self._line(self.part(thinking=text)) if text and self._thinking else b""
            case Delta(text=text, tokens=tokens):
                line = self._line({**self.part(content=text), **_logprobs(tokens)}) if text or tokens else b""
                return self._end_call() + line
            case ToolCallDelta():
                out = b""
                if self._call is None or self._call[0] != event.index:
                    out, self._call = self._end_call(), (event.index, event.name or "", [])
                self._call[2].append(event.arguments)
                return out
            case Finished():
                last = self._last(self.part(), event.reason, event.usage, event.timings)
                return self._end_call() + self._line(last, done=True)
        return b""

    def end(self) -> bytes:
        """Return nothing: the last line ended the stream."""
        return b""

    def whole(self, completions: Sequence[Completion]) -> bytes:
        """Return the one document of a response that is not streamed."""
        [completion] = completions
        part = self.part(
            content=completion.content,
            thinking=completion.reasoning if self._thinking else "",
            calls=[_call(call.name, call.arguments) for call in completion.tool_calls],
        )
        part |= _logprobs(completion.tokens)
        last = self._last(part, completion.finish_reason, completion.usage, completion.timings)
        return self._line(last, done=True).rstrip()

    def error(self, error: ErrorInfo) -> bytes:
        """Return the last line of a stream that fails after it began."""
        return encode_error(error) + b"\n"

    def _end_call(self) -> bytes:
        call, self._call = self._call, None
        return b"" if call is None else self._line(self.part(calls=[_call(call[1], "".join(call[2]))]))

    def _line(self, fields: dict[str, Any], *, done: bool = False) -> bytes:
        return _json({"model": self._model, "created_at": timestamp(), **fields, "done": done}) + b"\n"

    def _last(self, part: dict[str, Any], reason: FinishReason, usage: Usage, timings: Timings) -> dict[str, Any]:
        seconds = timings.load + timings.queue + timings.prompt + timings.generation
        return {
            **part,
            "done_reason": "length" if reason == "length" else "stop",
            "total_duration": int(seconds * _NANOSECONDS),
            "load_duration": int(timings.load * _NANOSECONDS),
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": int(timings.prompt * _NANOSECONDS),
            "eval_count": usage.completion_tokens,
            "eval_duration": int(timings.generation * _NANOSECONDS),
        }


class ChatEncoder(_Encoder):
    """`/api/chat`."""

    def part(self, *, content: str = "", thinking: str = "", calls: Sequence[Any] = ()) -> dict[str, Any]:
        """Return the fields of one piece of a response."""
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if thinking:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = list(calls)
        return {"message": message}


class TextEncoder(_Encoder):
    """`/api/generate`."""

    def part(self, *, content: str = "", thinking: str = "", calls: Sequence[Any] = ()) -> dict[str, Any]:
        """Return the fields of one piece of a response."""
        return {"response": content, **({"thinking": thinking} if thinking else {})}


def _logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Return the field with the log probabilities of `tokens`; no field if none were requested."""
    found = encoded_each({**_logprob(token), "top_logprobs": [_logprob(top) for top in token.top]} for token in tokens)
    return {"logprobs": found} if found else {}


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    data = None if token.data is None else list(token.data)
    return {"token": token.text, "logprob": max(token.logprob, _LOWEST), "bytes": data}


def _call(name: str, arguments: str) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments_object(arguments)}}
