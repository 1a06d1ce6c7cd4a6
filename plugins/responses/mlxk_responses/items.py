"""Input items as messages of a conversation, and output items as input of the next turn."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from mlxk_core.api import Message, ToolCall
from mlxk_core.api.errors import InvalidOption
from mlxk_protocol.decode import required
from mlxk_protocol.errors import Unsupported, unsupported_content
from mlxk_protocol.untyped import optional_string, string
from mlxk_responses.item_pages import encode_items
from mlxk_responses.requests import Item
from mlxk_responses.tools import qualified_name

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_TEXT_PARTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
_ENVELOPE = "mlxk1."
_FIELDS = (
    "type",
    "role",
    "content",
    "summary",
    "encrypted_content",
    "call_id",
    "namespace",
    "name",
    "arguments",
    "output",
)
_PART_FIELDS = ("type", "text", "refusal")
_LONGEST_ID = 256


def stored(items: Sequence[Item]) -> bytes:
    """Return the fields of `items` that are read, and ids, as JSON lines: what else a client sends may be megabytes."""
    return encode_items({"id": _id(item, number), **_read_fields(item, _FIELDS)} for number, item in enumerate(items))


def _id(item: Item, number: int) -> str:
    id = item.get("id")
    return id if isinstance(id, str) and len(id) <= _LONGEST_ID else f"item_{number}"


def _read_fields(fields: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {
        name: [_read_fields(part, _PART_FIELDS) if isinstance(part, Mapping) else part for part in value]
        if isinstance(value, list)
        else value
        for name in names
        if (value := fields.get(name)) is not None
    }


def encode_reasoning(text: str) -> str:
    """Return reasoning as `encrypted_content`: text a client can send back. It is encoded, not encrypted."""
    return _ENVELOPE + base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()


def to_messages(items: Sequence[Item], *, path: str = "input") -> list[Message]:
    """Return the conversation in `items`. Raises `InvalidOption` that names the item at fault.

    Reasoning, text and calls of one assistant turn become one message.
    """
    messages: list[Message] = []
    turn = _AssistantTurn()
    for index, item in enumerate(items):
        at = f"{path}[{index}]"
        kind = optional_string(item, "type", at) or "message"
        match kind:
            case "message" if item.get("role") == "assistant":
                turn.add_text(_text(item.get("content"), f"{at}.content"), messages)
            case "reasoning":
                turn.add_reasoning(_reasoning(item, at), messages)
            case "function_call":
                turn.calls.append(_call(item, at))
            case "message":
                turn.flush(messages)
                messages.append(_message(item, at))
            case "function_call_output":
                turn.flush(messages)
                messages.append(_output(item, at))
            case _:
                raise Unsupported(
                    f"{at}.type",
                    f"items of type `{kind}` are not supported; supported are message, reasoning, function_call and "
                    "function_call_output",
                )
    turn.flush(messages)
    return messages


class _AssistantTurn:
    """The parts of one assistant turn, until something else follows."""

    def __init__(self) -> None:
        self.reasoning: list[str] = []
        self.text: str | None = None
        self.calls: list[ToolCall] = []

    def add_reasoning(self, text: str, messages: list[Message]) -> None:
        if self.text is not None or self.calls:
            self.flush(messages)
        self.reasoning.append(text)

    def add_text(self, text: str, messages: list[Message]) -> None:
        if self.text is not None or self.calls:
            self.flush(messages)
        self.text = text

    def flush(self, messages: list[Message]) -> None:
        if self.text is not None or self.calls:
            messages.append(
                Message(
                    role="assistant",
                    content=self.text or "",
                    reasoning="".join(self.reasoning) or None,
                    tool_calls=tuple(self.calls),
                )
            )
        self.__init__()  # type: ignore[misc]


def _message(item: Item, at: str) -> Message:
    given = string(item, "role", at)
    role = _ROLES.get(given)
    if role is None:
        raise InvalidOption(f"{at}.role", f"`{given}` is unknown; use assistant, developer, system or user")
    if item.get("content") is None:
        raise required(f"{at}.content")
    return Message(role=role, content=_text(item["content"], f"{at}.content"))  # type: ignore[arg-type]


def _call(item: Item, at: str) -> ToolCall:
    name = string(item, "name", at)
    if isinstance(item.get("namespace"), str):
        name = qualified_name(item["namespace"], name)
    return ToolCall(id=string(item, "call_id", at), name=name, arguments=string(item, "arguments", at))


def _output(item: Item, at: str) -> Message:
    output = item.get("output")
    text = output if isinstance(output, str) else _text(output, f"{at}.output")
    return Message(role="tool", content=text, tool_call_id=string(item, "call_id", at))


def _reasoning(item: Item, at: str) -> str:
    """The text of a reasoning item: its content, else its summary, else what it carries encoded."""
    for field in ("content", "summary"):
        if item.get(field):
            return _text(item[field], f"{at}.{field}")
    encoded = item.get("encrypted_content")
    if not isinstance(encoded, str) or not encoded.startswith(_ENVELOPE):
        return ""  # of another server: its reasoning cannot be read, and the conversation is complete without it
    try:
        return base64.b64decode(encoded.removeprefix(_ENVELOPE), validate=True).decode("utf-8", "surrogatepass")
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidOption(f"{at}.encrypted_content", "damaged; send it back as it was received") from None


def _text(content: Any, at: str) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, list):
        raise InvalidOption(at, "expected a string or an array")
    return "".join(_part(part, f"{at}[{index}]") for index, part in enumerate(content))


def _part(part: Any, at: str) -> str:
    if not isinstance(part, Mapping):
        raise InvalidOption(at, "expected an object")
    kind = string(part, "type", at)
    if kind == "refusal":
        return optional_string(part, "refusal", at) or ""
    if kind not in _TEXT_PARTS:
        raise unsupported_content(f"{at}.type", kind)
    return string(part, "text", at)
