"""Limits of what a request has in addition to its text: tool schemas, arguments of calls, template options, reasoning.

Each rendering encodes it as JSON for the template's process, with the interpreter locked, whether or not the template
writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlxk_core._errors import InvalidOption
from mlxk_core._generation.request import GenerationRequest, Message

_MOST_OPTIONS = 10_000
_LONGEST_OPTIONS = 1 << 20
_MOST_IN_SCHEMAS = _MOST_IN_CALLS = 100_000
_LONGEST_UNWRITTEN = 4 << 20
_FEW = 100
_VALUE = 16
"""Characters that a value counts for, besides its text."""


def check_template_options(options: Mapping[str, Any], *, option: str = "template_options") -> None:
    """Raise `InvalidOption` for `option` if `options` have more than 10,000 values or 1,048,576 characters."""
    values, characters = _count([options], _MOST_OPTIONS)
    if values > _MOST_OPTIONS or characters > _LONGEST_OPTIONS:
        raise InvalidOption(option, f"at most {_MOST_OPTIONS:,} values and {_LONGEST_OPTIONS:,} characters")


def check_values(request: GenerationRequest) -> None:
    """Raise `InvalidOption` if schemas, calls or template options of `request` have too many values, or its messages
    too much reasoning."""
    check_template_options(request.template_options)
    if request.constraint is not None and _count([request.constraint.value], _MOST_IN_SCHEMAS)[0] > _MOST_IN_SCHEMAS:
        raise InvalidOption(request.constraint.option, f"may have {_MOST_IN_SCHEMAS:,} values at most")
    _check_tools(request)
    _check_calls(request)


def _check_tools(request: GenerationRequest) -> None:
    values = 0
    for number, tool in enumerate(request.tools):
        values += _count([tool.parameters], _MOST_IN_SCHEMAS)[0]
        if values > _MOST_IN_SCHEMAS:
            raise InvalidOption(
                tool.option or f"tools[{number}].parameters",
                f"the schemas of all tools may have {_MOST_IN_SCHEMAS:,} values at most",
            )


def _check_calls(request: GenerationRequest) -> None:
    values = unwritten = 0
    for message in messages_of(request):
        values += sum(_most_values(call.arguments) for call in message.tool_calls)
        unwritten += unwritten_size(message)
    if values > _MOST_IN_CALLS:
        raise InvalidOption("messages", f"the arguments of all tool calls may have {_MOST_IN_CALLS:,} values at most")
    if unwritten > _LONGEST_UNWRITTEN:
        raise InvalidOption("messages", f"reasoning, names and ids may have {_LONGEST_UNWRITTEN:,} characters at most")


def messages_of(request: GenerationRequest) -> list[Message]:
    """Return the messages of `request`; none if its prompt is a text or token ids, which may be millions."""
    prompt = request.prompt
    if isinstance(prompt, str) or not prompt or not isinstance(prompt[0], Message):
        return []
    return [part for part in prompt if isinstance(part, Message)]


def unwritten_size(message: Message) -> int:
    """Return the characters of what many templates leave out of the prompt."""
    texts = [message.reasoning, message.name, message.tool_call_id]
    texts += [text for call in message.tool_calls for text in (call.id, call.name)]
    return sum(len(text) for text in texts if text is not None)


def values_size(request: GenerationRequest) -> int:
    """Return the size of those values in characters, roughly."""
    given = [request.template_options, *(tool.parameters for tool in request.tools)]
    values, characters = _count(given, _MOST_OPTIONS + _MOST_IN_SCHEMAS)
    return characters + _VALUE * values


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


def _most_values(text: str) -> int:
    """Return how many values there are in JSON that may be damaged: that many or fewer."""
    # They may be in its texts; but arguments may also be one text with JSON in it.
    if _separators(text) > _FEW and not text.lstrip().startswith('"'):
        plain = text.replace(r"\\", "").replace(r"\"", "")  # every quote begins or ends a text
        text = "".join(plain.split('"')[::2])
    return _separators(text)


def _separators(text: str) -> int:
    return text.count(",") + text.count("[") + text.count("{")
