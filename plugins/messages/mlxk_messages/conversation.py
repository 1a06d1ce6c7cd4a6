"""Anthropic's turns and content blocks as messages of a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlxk_core.api import Message, ToolCall
from mlxk_core.api.errors import InvalidOption
from mlxk_messages.requests import Block, CountRequest
from mlxk_protocol.arguments import UNPARSED
from mlxk_protocol.errors import Unsupported, unsupported_content
from mlxk_protocol.untyped import string


def to_messages(request: CountRequest) -> list[Message]:
    """Return the conversation of a request. Raises `InvalidOption` that names the block at fault."""
    messages: list[Message] = []
    if request.system:
        messages.append(Message(role="system", content=_text(request.system, "system")))
    for index, turn in enumerate(request.messages):
        at = f"messages[{index}].content"
        blocks: list[Block] = (
            [{"type": "text", "text": turn.content}] if isinstance(turn.content, str) else turn.content
        )
        if turn.role == "assistant":
            messages.append(_assistant(blocks, at))
        elif turn.role == "system":
            messages.append(Message(role="system", content=_text(blocks, at)))
        else:
            messages += _user(blocks, at)
    return messages


def _assistant(blocks: Sequence[Block], at: str) -> Message:
    text: list[str] = []
    thinking: list[str] = []
    calls: list[ToolCall] = []
    for index, block in enumerate(blocks):
        here = f"{at}[{index}]"
        match string(block, "type", here):
            case "text":
                text.append(string(block, "text", here))
            case "thinking":
                thinking.append(string(block, "thinking", here))
            case "redacted_thinking":
                continue  # another server's, encrypted: it cannot be read here
            case "tool_use":
                calls.append(_call(block, here))
            case kind:
                raise unsupported_content(f"{here}.type", kind)
    return Message(
        role="assistant", content="".join(text), reasoning="".join(thinking) or None, tool_calls=tuple(calls)
    )


def _user(blocks: Sequence[Block], at: str) -> list[Message]:
    """Tool results first, each a message of its own, then the text."""
    results: list[Message] = []
    text: list[str] = []
    for index, block in enumerate(blocks):
        here = f"{at}[{index}]"
        match string(block, "type", here):
            case "text":
                text.append(string(block, "text", here))
            case "document":
                text.append(_document(block, here))
            case "tool_result":
                results.append(_result(block, here))
            case kind:
                raise unsupported_content(f"{here}.type", kind)
    if text or not results:
        results.append(Message(role="user", content="\n\n".join(text)))
    return results


def _result(block: Block, at: str) -> Message:
    content = block.get("content")
    text = "" if content is None else _text(content, f"{at}.content")
    if block.get("is_error"):
        text = f"Error: {text}"
    return Message(role="tool", content=text, tool_call_id=string(block, "tool_use_id", at))


def _document(block: Block, at: str) -> str:
    source = block.get("source")
    if not isinstance(source, Mapping) or source.get("type") != "text":
        raise Unsupported(f"{at}.source", "only documents of type text are supported")
    title = block.get("title")
    text = string(source, "data", f"{at}.source")
    return f"{title}\n\n{text}" if isinstance(title, str) else text


def _call(block: Block, at: str) -> ToolCall:
    given = block.get("input")
    if given is None:
        given = {}
    if isinstance(given, dict) and given.keys() == {UNPARSED}:
        arguments = string(given, UNPARSED, f"{at}.input")
    else:
        arguments = msgspec.json.encode(given).decode()
    return ToolCall(id=string(block, "id", at), name=string(block, "name", at), arguments=arguments)


def _text(content: Any, at: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidOption(at, "expected a string or an array")
    parts = []
    for index, block in enumerate(content):
        here = f"{at}[{index}]"
        if not isinstance(block, Mapping):
            raise InvalidOption(here, "expected an object")
        if (kind := string(block, "type", here)) != "text":
            raise unsupported_content(f"{here}.type", kind)
        parts.append(string(block, "text", here))
    return "\n\n".join(parts)
