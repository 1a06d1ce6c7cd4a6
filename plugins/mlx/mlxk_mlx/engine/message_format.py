"""The forms in which chat templates expect messages and tools."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any, Literal

from mlxk_core.api.generation import Message, Tool, ToolCall
from mlxk_mlx.engine.argument_repair import repaired_object

Entry = dict[str, Any]
"""A message as a template gets it."""

_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_READS_REASONING = re.compile(rf"""(?:\.|\[ *['"]|get\( *['"])({"|".join(_REASONING_KEYS)})\b""")
_REASONING_PART = re.compile(r"""type(?:['"] *\])? *== *['"]thinking['"]""")
_MAX_DEVIATIONS = 2

_ROLES = ("system", "user", "assistant", "tool")
# Which roles have typed parts for content, the usual combinations first.
_PART_ROLES: tuple[tuple[str, ...], ...] = (
    (),
    _ROLES,
    ("user",),
    ("user", "assistant"),
    ("user", "system"),
    ("user", "assistant", "system"),
    ("user", "assistant", "tool"),
    ("tool",),
    ("system",),
)


@dataclass(frozen=True, slots=True)
class MessageFormat:
    """The message format of one template. The defaults are OpenAI's form.

    `part_roles`: roles whose content is a list of typed parts. `empty`: the content of an assistant's message that has
    tool calls and no text. `arguments`: a call's arguments as an object, as JSON text, or as an object also where the
    model wrote none. `calls`: all calls of a message with its text, after a message with the text, or each call in a
    message that is followed by its result. `bare_calls`: calls without `{"type": "function", "function": ...}`.
    `reasoning`: the key of the reasoning; `reasoning_part`: a typed part of the content instead (Mistral).
    `one_text`: no reasoning together with text and calls (gpt-oss). `short_ids`: ids of nine letters and digits.
    """

    part_roles: tuple[str, ...] = ()
    empty: Literal["", "null", "absent"] = ""
    arguments: Literal["object", "text", "wrapped"] = "object"
    calls: Literal["together", "after-text", "one-by-one"] = "together"
    bare_calls: bool = False
    reasoning: str = _REASONING_KEYS[0]
    reasoning_part: bool = False
    one_text: bool = False
    short_ids: bool = False

    @classmethod
    def of(cls, template: str) -> MessageFormat:
        """Return the format that the text of `template` suggests."""
        keys = {match[1] for match in _READS_REASONING.finditer(template)}
        return cls(
            reasoning=next((key for key in _REASONING_KEYS if key in keys), _REASONING_KEYS[0]),
            reasoning_part=_REASONING_PART.search(template) is not None and keys <= {"thinking"},
            short_ids=re.search(r"length *[!=]= *9\b", template) is not None,
        )

    def alternatives(self, messages: Sequence[Message]) -> Iterator[MessageFormat]:
        """Yield this format and others that differ for `messages`, those with the fewest deviations first."""
        yield self
        dimensions = list(self._dimensions(messages))
        for count in range(1, min(_MAX_DEVIATIONS, len(dimensions)) + 1):
            for chosen in combinations(dimensions, count):
                for changes in product(*chosen):
                    yield replace(self, **{key: value for change in changes for key, value in change.items()})

    def _dimensions(self, messages: Sequence[Message]) -> Iterator[list[dict[str, Any]]]:
        calling = [message for message in messages if message.tool_calls]
        if calling:
            yield [{"arguments": form} for form in ("text", "wrapped")]
            if any(message.content and message.reasoning for message in calling):
                yield [{"one_text": True}]
            if not all(message.content for message in calling):
                yield [{"empty": form} for form in ("null", "absent")]
            forms: list[dict[str, Any]] = []
            if any(message.content for message in calling):
                forms.append({"calls": "after-text"})
            if any(len(message.tool_calls) > 1 for message in calling):
                forms.append({"calls": "one-by-one"})
            if forms:
                yield forms
        roles = {message.role for message in messages}
        effective = {tuple(role for role in choice if role in roles) for choice in _PART_ROLES[1:]} - {()}
        yield [{"part_roles": choice} for choice in sorted(effective, key=lambda choice: (-len(choice), choice))]
        if calling:
            yield [{"bare_calls": True}]

    def reasoning_alternatives(self) -> Iterator[MessageFormat]:
        """Yield this format and those with the reasoning in other places."""
        yield self
        for key in _REASONING_KEYS:
            if self.reasoning_part or key != self.reasoning:
                yield replace(self, reasoning=key, reasoning_part=False)
        if not self.reasoning_part:
            yield replace(self, reasoning_part=True)

    def write(self, messages: Sequence[Message]) -> list[Entry]:
        """Return `messages` in this format."""
        names = {call.id: call.name for message in messages for call in message.tool_calls}
        return [self._entry(message, names) for message in self._arrange(messages)]

    def _arrange(self, messages: Sequence[Message]) -> Iterable[Message]:
        match self.calls:
            case "together":
                return messages
            case "after-text":
                return [part for message in messages for part in _split_text(message)]
            case "one-by-one":
                return _one_by_one(messages)

    def _entry(self, message: Message, names: Mapping[str, str]) -> Entry:
        entry: Entry = {"role": message.role, "content": self._content(message)}
        if message.tool_calls and not message.content:
            if self.empty == "absent":
                del entry["content"]
            elif self.empty == "null":
                entry["content"] = None
        if message.reasoning is not None and not (self.one_text and message.content and message.tool_calls):
            self._add_reasoning(entry, message)
        # OpenAI's clients refer from a result to its call by id only; Gemma's template writes the function's name.
        name = message.name or names.get(message.tool_call_id or "")
        if name is not None:
            entry["name"] = name
        if message.tool_call_id is not None:
            entry["tool_call_id"] = self._id(message.tool_call_id)
        if message.tool_calls:
            entry["tool_calls"] = [self._call(call) for call in message.tool_calls]
        return entry

    def _content(self, message: Message) -> Any:
        if message.role not in self.part_roles:
            return message.content
        return [{"type": "text", "text": message.content}] if message.content or not message.tool_calls else []

    def _add_reasoning(self, entry: Entry, message: Message) -> None:
        if not self.reasoning_part:
            # As in transformers, a template may read the reasoning under either of the first two names.
            for key in ("thinking", "reasoning_content", self.reasoning):
                entry[key] = message.reasoning
        elif message.reasoning:
            text = [{"type": "text", "text": message.content}] if message.content else []
            entry["content"] = [{"type": "thinking", "thinking": message.reasoning}, *text]

    def _call(self, call: ToolCall) -> Entry:
        function = {"name": call.name, "arguments": self._arguments(call.arguments)}
        if self.bare_calls:
            return {"id": self._id(call.id), **function}
        return {"id": self._id(call.id), "type": "function", "function": function}

    def _arguments(self, text: str) -> Any:
        if self.arguments == "text":
            return text
        value = repaired_object(text)
        if value is None:
            return {"arguments": text} if self.arguments == "wrapped" else text
        return value

    def _id(self, identifier: str) -> str:
        if not self.short_ids or re.fullmatch("[A-Za-z0-9]{9}", identifier):
            return identifier
        return hashlib.sha256(identifier.encode(errors="replace")).hexdigest()[:9]


def _split_text(message: Message) -> Sequence[Message]:
    """Return a message with text and calls as two, the text first; any other as it is."""
    if not (message.content and message.tool_calls):
        return (message,)
    return (replace(message, tool_calls=()), replace(message, content="", reasoning=None))


def _one_by_one(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield every call in a message of its own, each followed by its results."""
    results: dict[str | None, list[Message]] = {}
    for message in messages:
        if message.role == "tool":
            results.setdefault(message.tool_call_id, []).append(message)
    for message in messages:
        if message.role == "tool":
            if message.tool_call_id in results:  # of a call that is not there
                yield message
            continue
        for part in _split_text(message):
            if not part.tool_calls:
                yield part
            for index, call in enumerate(part.tool_calls):
                yield replace(part, tool_calls=(call,), reasoning=part.reasoning if index == 0 else None)
                yield from results.pop(call.id, [])


def describe(tool: Tool) -> dict[str, Any]:
    """Return `tool` in OpenAI's form."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}
