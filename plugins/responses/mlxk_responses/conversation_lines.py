"""Conversations as JSON lines, so that their messages are counted before one of them is built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from mlxk_core.api import Message
from mlxk_core.api.generation import ToolCall
from mlxk_core.api.models import count_values
from mlxk_protocol.decoders import decoder_of
from mlxk_responses.damaged_responses import NOT_JSON

_MOST_LINES = 1 << 15
"""Messages and calls: more than a request may have together with its response."""
_MOST_VALUES = 1 << 18
"""Values of a conversation that an earlier mlxk stored as one array."""


class _MessageLine(msgspec.Struct, tag="message", omit_defaults=True, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    reasoning: str | None = None
    name: str | None = None
    tool_call_id: str | None = None


class _CallLine(msgspec.Struct, tag="call", forbid_unknown_fields=True):
    """A call of the message in the lines before."""

    id: str
    name: str
    arguments: str


_Line: Any = _MessageLine | _CallLine


class InvalidConversation(Exception):
    """What is stored is not a conversation, or exceeds the limits of one."""


def encode_conversation(messages: Sequence[Message]) -> bytes:
    """Return messages as JSON lines: each message, then its calls."""
    return msgspec.json.Encoder().encode_lines(_lines(messages))


def decode_conversation(data: bytes) -> list[Message]:
    """Return the messages that `encode_conversation` has encoded. Raises `InvalidConversation`."""
    try:
        return _from_array(data) if data.startswith(b"[") else list(_messages(data))
    except NOT_JSON as error:
        raise InvalidConversation(f"a stored conversation is damaged: {error}") from None


def _lines(messages: Sequence[Message]) -> Iterator[_MessageLine | _CallLine]:
    for each in messages:
        yield _MessageLine(each.role, each.content, each.reasoning, each.name, each.tool_call_id)
        for call in each.tool_calls:
            yield _CallLine(call.id, call.name, call.arguments)


def _messages(data: bytes) -> Iterator[Message]:
    if (count := data.count(b"\n")) > _MOST_LINES:
        raise InvalidConversation(f"a stored conversation has {count:,} messages and calls (at most {_MOST_LINES:,})")
    decoder = decoder_of(_Line)
    turns: list[tuple[_MessageLine, list[ToolCall]]] = []
    for line in data.split(b"\n"):
        match decoder.decode(line) if line else None:
            case _MessageLine() as message:
                turns.append((message, []))
            case _CallLine(id=id, name=name, arguments=arguments) if turns:
                turns[-1][1].append(ToolCall(id=id, name=name, arguments=arguments))
    for message, calls in turns:
        yield Message(
            role=message.role,
            content=message.content,
            reasoning=message.reasoning,
            name=message.name,
            tool_calls=tuple(calls),
            tool_call_id=message.tool_call_id,
        )


def _from_array(data: bytes) -> list[Message]:
    """Return the messages of a conversation that version 2 of the file has as a JSON array."""
    if (count := count_values(data)) > _MOST_VALUES:
        raise InvalidConversation(f"a stored conversation has about {count:,} values (at most {_MOST_VALUES:,})")
    return decoder_of(list[Message]).decode(data)
