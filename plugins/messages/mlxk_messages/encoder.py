"""Events of a generation as the Messages API streams them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from mlxk_core.api.generation import Channel, Completion, Delta, Event, Finished, Started, ToolCallDelta
from mlxk_core.api.server import EVENT_STREAM, ErrorInfo
from mlxk_messages.errors import encode_error
from mlxk_messages.response import MessageObject, Usage, content_blocks, signature, stop_reason
from mlxk_protocol.ids import new_id

_json = msgspec.json.encode


class MessagesEncoder:
    """Writes one response. A block that has begun ends when one of another kind begins."""

    content_type = EVENT_STREAM
    heartbeat = b'event: ping\ndata: {"type":"ping"}\n\n'

    def __init__(self, model: str, *, thinking: bool) -> None:
        self._message = MessageObject(id=new_id("msg"), model=model, content=[], usage=Usage(0, 0))
        self._thinking = thinking
        self._index = -1
        self._kind: str | None = None
        self._call = -1
        self._thought: list[str] = []

    def piece(self, index: int, event: Event) -> bytes:
        """Return the events that `event` adds to the stream."""
        match event:
            case Started(prompt_tokens=tokens):
                self._message.usage = Usage(tokens, 0)
                return _event("message_start", message=self._message) + self.heartbeat
            case Delta(channel=Channel.REASONING, text=text):
                if not self._thinking or not text:
                    return b""
                self._thought.append(text)
                begun = self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                return begun + self._delta({"type": "thinking_delta", "thinking": text})
            case Delta(text=text):
                if not text:
                    return b""
                return self._begin("text", {"type": "text", "text": ""}) + self._delta(
                    {"type": "text_delta", "text": text}
                )
            case ToolCallDelta():
                return self._tool(event)
            case Finished():
                delta = {
                    "stop_reason": stop_reason(event.reason, event.stop_string),
                    "stop_sequence": event.stop_string,
                }
                return (
                    self._end_block()
                    + _event("message_delta", delta=delta, usage=Usage.of(event.usage))
                    + _event("message_stop")
                )
        return b""

    def end(self) -> bytes:
        """Return nothing: the last event ended the stream."""
        return b""

    def whole(self, completions: Sequence[Completion]) -> bytes:
        """Return the message object."""
        [completion] = completions
        self._message.content = content_blocks(completion, thinking=self._thinking)
        self._message.stop_reason = stop_reason(completion.finish_reason, completion.stop_string)
        self._message.stop_sequence = completion.stop_string
        self._message.usage = Usage.of(completion.usage)
        return _json(self._message)

    def error(self, error: ErrorInfo) -> bytes:
        """Return the event of a stream that fails after it began."""
        return b"event: error\ndata: " + encode_error(error) + b"\n\n"

    def _tool(self, event: ToolCallDelta) -> bytes:
        out = b""
        if event.index != self._call:
            self._call = event.index
            block = {"type": "tool_use", "id": event.id or new_id("toolu"), "name": event.name or "", "input": {}}
            out = self._end_block() + self._begin("tool_use", block)
        if event.arguments:
            out += self._delta({"type": "input_json_delta", "partial_json": event.arguments})
        return out

    def _begin(self, kind: str, block: dict[str, Any]) -> bytes:
        if self._kind == kind:
            return b""
        out = self._end_block()
        self._kind, self._index = kind, self._index + 1
        return out + _event("content_block_start", index=self._index, content_block=block)

    def _end_block(self) -> bytes:
        kind, self._kind = self._kind, None
        if kind is None:
            return b""
        out = b""
        if kind == "thinking":
            thought, self._thought = "".join(self._thought), []
            out = _event(
                "content_block_delta",
                index=self._index,
                delta={"type": "signature_delta", "signature": signature(thought)},
            )
        return out + _event("content_block_stop", index=self._index)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)


def _event(type: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (type.encode(), _json({"type": type, **fields}))
