"""Sizes of requests, and limits of what they have in addition to text: schemas, arguments, template options, reasoning.

Each rendering encodes that as JSON for the template's process, with the interpreter locked, whether or not the template
writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlxk_core._errors import InvalidOption
from mlxk_core._generation.request import GenerationRequest, Message
from mlxk_core._text.json_shape import json_shape

_MOST_OPTIONS = 10_000
_LONGEST_OPTIONS = 1 << 20
_MOST_IN_SCHEMAS = _MOST_IN_CALLS = 100_000
_LONGEST_CONSTRAINT = 1 << 19
_LONGEST_SCHEMAS = 1 << 20
"""Characters of the schemas of all tools. Schemas and constraints are identified by a hash of all their text."""
_LONGEST_UNWRITTEN = 4 << 20
_LONGEST_NAME = 256
"""Characters of the name of a tool, a call or a speaker: templates get that of a call with each of its results."""
_ESCAPED = (rb"\u005b", rb"\u005B", rb"\u007b", rb"\u007B", rb"\u002c", rb"\u002C")
"""Brackets, braces and commas in a text whose value is read as JSON again."""
_TOKEN, _MESSAGE, _VALUE = 4, 64, 16
"""Characters that a token id counts for in the size of a prompt; and a message or a call, and a value, besides its
text."""


def prompt_size(request: GenerationRequest) -> int:
    """Return about how much must be read to prepare `request`, in characters; messages, calls and ids count as some."""
    prompt = request.prompt
    given = [request.template_options, *(tool.parameters for tool in request.tools)]
    values, characters = _count(given, _MOST_OPTIONS + _MOST_IN_SCHEMAS)
    size = len(request.suffix or "") + sum(len(tool.description or "") for tool in request.tools)
    size += characters + _VALUE * values
    if isinstance(prompt, str):
        return size + len(prompt)
    if not request.is_chat:
        return size + _TOKEN * len(prompt)
    for message in request.messages:
        size += _MESSAGE * (1 + len(message.tool_calls)) + len(message.content) + _unwritten(message)
        size += sum(len(call.arguments) for call in message.tool_calls)
    return size


def check_template_options(options: Mapping[str, Any], *, option: str = "template_options") -> None:
    """Raise `InvalidOption` for `option` if `options` have more than 10,000 values or 1,048,576 characters."""
    values, characters = _count([options], _MOST_OPTIONS)
    if values > _MOST_OPTIONS or characters > _LONGEST_OPTIONS:
        raise InvalidOption(option, f"at most {_MOST_OPTIONS:,} values and {_LONGEST_OPTIONS:,} characters")


def check_schema_text(text: str, *, option: str) -> None:
    """Raise `InvalidOption` for `option` if a schema, as JSON text, has more than 100,000 values."""
    if json_shape(text.encode("utf-8", "surrogatepass")).values > _MOST_IN_SCHEMAS:
        raise _many_in_schema(option)


def check_sizes(request: GenerationRequest, *, checked: GenerationRequest | None = None) -> None:
    """Raise `InvalidOption` if schemas, calls or template options of `request` have too many values or characters, or
    its messages too much reasoning. What it shares with one that was `checked` is not looked at again: choices have one
    prompt."""
    if checked is None or request.template_options is not checked.template_options:
        check_template_options(request.template_options)
    constraint = request.constraint
    if constraint is not None and (checked is None or constraint is not checked.constraint):
        values, characters = _count([constraint.value], _MOST_IN_SCHEMAS)
        if values > _MOST_IN_SCHEMAS:
            raise _many_in_schema(constraint.option)
        if characters > _LONGEST_CONSTRAINT:
            raise InvalidOption(constraint.option, f"may have {_LONGEST_CONSTRAINT:,} characters at most")
    if checked is None or request.tools is not checked.tools:
        _check_tools(request)
    if checked is None or request.prompt is not checked.prompt:
        _check_messages(request)


def _many_in_schema(option: str) -> InvalidOption:
    return InvalidOption(option, f"may have {_MOST_IN_SCHEMAS:,} values at most")


def _check_tools(request: GenerationRequest) -> None:
    values = characters = 0
    for number, tool in enumerate(request.tools):
        if len(tool.name) > _LONGEST_NAME:
            at = (tool.option or "").rpartition(".")[0] or f"tools[{number}]"
            raise InvalidOption(f"{at}.name", f"may have {_LONGEST_NAME} characters at most")
        count, length = _count([tool.parameters], _MOST_IN_SCHEMAS)
        values += count
        characters += length
        if values > _MOST_IN_SCHEMAS or characters > _LONGEST_SCHEMAS:
            raise InvalidOption(
                tool.option or f"tools[{number}].parameters",
                f"the schemas of all tools may have {_MOST_IN_SCHEMAS:,} values and {_LONGEST_SCHEMAS:,} characters "
                "at most",
            )


def _check_messages(request: GenerationRequest) -> None:
    values = unwritten = 0
    for message in request.messages:
        values += sum(_most_values(call.arguments) for call in message.tool_calls)
        unwritten += _unwritten(message)
    if values > _MOST_IN_CALLS:
        raise InvalidOption("messages", f"the arguments of all tool calls may have {_MOST_IN_CALLS:,} values at most")
    if any(len(name or "") > _LONGEST_NAME for message in request.messages for name in _names(message)):
        raise InvalidOption("messages", f"names may have {_LONGEST_NAME} characters at most")
    if unwritten > _LONGEST_UNWRITTEN:
        raise InvalidOption("messages", f"reasoning, names and ids may have {_LONGEST_UNWRITTEN:,} characters at most")


def _names(message: Message) -> Iterator[str | None]:
    yield message.name
    for call in message.tool_calls:
        yield call.name


def _unwritten(message: Message) -> int:
    """Return the characters of what many templates leave out of the prompt."""
    texts = [message.reasoning, message.name, message.tool_call_id]
    texts += [text for call in message.tool_calls for text in (call.id, call.name)]
    return sum(len(text) for text in texts if text is not None)


def _count(given: Iterable[object], most: int) -> tuple[int, int]:
    """Return how many values there are in `given`, at every depth, and how many characters their texts have. What comes
    after `most` values is not looked at."""
    left = list(given)
    values = characters = 0
    while left and values <= most:
        value = left.pop()
        values += 1
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, Mapping):
            characters += sum(len(name) for name in value if isinstance(name, str))
            left.extend(value.values())
        elif isinstance(value, (list, tuple)):
            left.extend(value)
    return values, characters


def _most_values(arguments: str) -> int:
    """Return how many values there are in the arguments of a call, or more."""
    data = arguments.encode("utf-8", "surrogatepass")
    if data.lstrip()[:1] != b'"':
        return json_shape(data).values
    # They may be one text with JSON in it.
    return json_shape(data.replace(b'"', b"")).values + sum(map(data.count, _ESCAPED))
