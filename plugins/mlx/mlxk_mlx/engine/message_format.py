"""Messages and tools as a chat template expects to find them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlxk_core.api.generation import Message, Tool, ToolCall

_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_READ = re.compile(rf"""(?:\.|\[ *['"]|get\( *['"])({"|".join(_REASONING_KEYS)})\b""")
_BLOCK = re.compile(r"""type(?:['"] *\])? *== *['"]thinking['"]""")


@dataclass(frozen=True, slots=True)
class Turns:
    """The form of messages that one template wants. Templates agree on most; what they do not is told from their text.

    `reasoning`: the key of a message they read it from. `blocks`: Mistral's want it as a part of the content instead.
    `short_ids`: they refuse ids of calls that are not nine letters and digits. `text_arguments`: most want the
    arguments of a call as an object, DeepSeek's as text. `one_text`: gpt-oss' refuses reasoning beside content and
    calls.
    """

    reasoning: str = _REASONING_KEYS[0]
    blocks: bool = False
    short_ids: bool = False
    text_arguments: bool = False
    one_text: bool = False

    @classmethod
    def of(cls, template: str) -> Turns:
        read = {match[1] for match in _READ.finditer(template)}
        return cls(
            reasoning=next((key for key in _REASONING_KEYS if key in read), _REASONING_KEYS[0]),
            blocks=_BLOCK.search(template) is not None and read <= {"thinking"},
            short_ids=re.search(r"length *[!=]= *9\b", template) is not None,
        )

    def alternatives(self, messages: Sequence[Message]) -> Iterator[Turns]:
        """This form, and others to try when the template refuses it."""
        yield self
        if any(message.tool_calls for message in messages):
            yield replace(self, text_arguments=True)
        if any(message.tool_calls and message.content and message.reasoning for message in messages):
            yield replace(self, one_text=True)

    def write(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        names = {call.id: call.name for message in messages for call in message.tool_calls}
        return [self._message(message, names) for message in messages]

    def _message(self, message: Message, names: Mapping[str, str]) -> dict[str, Any]:
        entry: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.reasoning is not None and not (self.one_text and message.content and message.tool_calls):
            self._reason(entry, message.reasoning)
        # OpenAI's clients name a result by its call only, and some templates (Gemma's) write the function's name.
        name = message.name or names.get(message.tool_call_id or "")
        if name is not None:
            entry["name"] = name
        if message.tool_call_id is not None:
            entry["tool_call_id"] = self._id(message.tool_call_id)
        if message.tool_calls:
            entry["tool_calls"] = [self._call(call) for call in message.tool_calls]
        return entry

    def _reason(self, entry: dict[str, Any], reasoning: str) -> None:
        if not self.blocks:
            entry[self.reasoning] = reasoning
        elif reasoning:
            said = [{"type": "text", "text": entry["content"]}] if entry["content"] else []
            entry["content"] = [{"type": "thinking", "thinking": reasoning}, *said]

    def _call(self, call: ToolCall) -> dict[str, Any]:
        arguments = call.arguments if self.text_arguments else _object(call.arguments)
        function = {"name": call.name, "arguments": arguments}
        return {"id": self._id(call.id), "type": "function", "function": function}

    def _id(self, identifier: str) -> str:
        if not self.short_ids or re.fullmatch("[A-Za-z0-9]{9}", identifier):
            return identifier
        return hashlib.sha256(identifier.encode(errors="replace")).hexdigest()[:9]


def describe(tool: Tool) -> dict[str, Any]:
    """A tool in OpenAI's form."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _object(arguments: str) -> Any:
    """What the text says if that is an object; nothing and null are an empty one, other text stays text."""
    try:
        value = json.loads(arguments) if arguments.strip() else None
    except (ValueError, RecursionError):
        return arguments
    if value is None:
        return {}
    return value if isinstance(value, dict) else arguments
