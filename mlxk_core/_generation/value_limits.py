"""Limits of the values in a request that may have any shape: schemas of tools, arguments of calls, template options.

Each rendering encodes them as JSON for the template's process, with the interpreter locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlxk_core._errors import InvalidOption
from mlxk_core._generation.request import GenerationRequest, Message

_MOST_OPTIONS = 10_000
_LONGEST_OPTIONS = 1 << 20
_MOST_IN_TOOLS = _MOST_IN_CALLS = 100_000
_FEW = 100
_VALUE = 16
"""Characters that a value counts for, besides its text."""


def check_template_options(options: Mapping[str, Any], *, option: str = "template_options") -> None:
    """Raise `InvalidOption` for `option` if `options` have more than 10,000 values or 1,048,576 characters."""
    values, characters = _count([options])
    if values > _MOST_OPTIONS or characters > _LONGEST_OPTIONS:
        raise InvalidOption(option, f"at most {_MOST_OPTIONS:,} values and {_LONGEST_OPTIONS:,} characters")


def check_values(request: GenerationRequest) -> None:
    """Raise `InvalidOption` if tools, calls or template options of `request` have too many values."""
    check_template_options(request.template_options)
    _check_tools(request)
    _check_calls(request)


def _check_tools(request: GenerationRequest) -> None:
    values = 0
    for number, tool in enumerate(request.tools):
        values += _count([tool.parameters])[0]
        if values > _MOST_IN_TOOLS:
            raise InvalidOption(
                tool.option or f"tools[{number}].parameters",
                f"the schemas of all tools may have {_MOST_IN_TOOLS:,} values at most",
            )


def _check_calls(request: GenerationRequest) -> None:
    values = 0
    for message in request.prompt:
        if not isinstance(message, Message):  # a text or token ids
            return
        values += sum(_most_values(call.arguments) for call in message.tool_calls)
    if values > _MOST_IN_CALLS:
        raise InvalidOption("messages", f"the arguments of all tool calls may have {_MOST_IN_CALLS:,} values at most")


def values_size(request: GenerationRequest) -> int:
    """Return the size of those values in characters, roughly."""
    values, characters = _count([request.template_options, *(tool.parameters for tool in request.tools)])
    return characters + _VALUE * values


def _count(given: Iterable[object]) -> tuple[int, int]:
    """Return how many values there are in `given`, at every depth, and how many characters their texts have."""
    left = list(given)
    values = characters = 0
    while left:
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
