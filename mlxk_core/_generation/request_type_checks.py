"""Types of a request: a value of another type than its field's is an error of the caller, not of the backend."""

from __future__ import annotations

import types
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mlxk_core._errors import InvalidOption
from mlxk_core._generation.request import GenerationRequest, Message
from mlxk_core._models.model import Model
from mlxk_core._text.shorten import shorten

_LONGEST = 60
_NOUNS = {int: "an integer", float: "a number", str: "a string", bool: "true or false", type(None): "None"}
_PROMPT = "a string, messages or token ids"


def check_types(request: GenerationRequest, *, checked: GenerationRequest | None = None) -> None:
    """Raise `InvalidOption` naming the first field of `request` that has a value of another type: `tools[0].name`.

    Values that `request` shares with one that was `checked` are not checked again: choices have one prompt.
    """
    if not isinstance(request, GenerationRequest):
        raise InvalidOption("request", f"must be a GenerationRequest, not {_show(request)}")
    for name, annotation in _hints(GenerationRequest).items():
        value = getattr(request, name)
        if checked is not None and value is getattr(checked, name):
            continue
        if name == "prompt":
            _check_prompt(value)
        elif name == "sampling" and isinstance(value, annotation):
            _check_fields("", value)  # an option of sampling is known by its own name
        else:
            _check(name, value, annotation)


def _check_prompt(prompt: object) -> None:
    if isinstance(prompt, str) or (isinstance(prompt, array) and prompt.typecode == "q"):
        return
    if not isinstance(prompt, (list, tuple)):
        raise _wrong("prompt", _PROMPT, prompt)
    kind = Message if prompt and isinstance(prompt[0], Message) else int
    for number, part in enumerate(prompt):
        if type(part) is not int or kind is Message:  # token ids may be many
            if kind is int and not isinstance(part, int):
                raise _wrong(f"prompt[{number}]", "a message or a token id", part)
            _check(f"prompt[{number}]", part, kind)


def _check(path: str, value: Any, annotation: Any) -> None:
    """Raise `InvalidOption` unless `value` is of the type that `annotation` names."""
    _CHECKS.get(get_origin(annotation), _check_value)(path, value, annotation)


def _check_optional(path: str, value: Any, annotation: Any) -> None:
    if value is not None:
        [kind] = [each for each in get_args(annotation) if each is not type(None)]
        _check(path, value, kind)


def _check_literal(path: str, value: Any, annotation: Any) -> None:
    if value not in get_args(annotation):
        raise _wrong(path, f"one of {', '.join(map(str, get_args(annotation)))}", value)


def _check_tuple(path: str, value: Any, annotation: Any) -> None:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise _wrong(path, "a tuple", value)
    for number, each in enumerate(value):
        _check(f"{path}[{number}]", each, get_args(annotation)[0])


def _check_mapping(path: str, value: Any, annotation: Any) -> None:
    if not isinstance(value, Mapping):
        raise _wrong(path, "a mapping", value)
    key_type, value_type = get_args(annotation)
    for key, each in value.items():
        _check(f"a key of {path}", key, key_type)
        _check(f"{path}[{key!r}]", each, value_type)


def _check_value(path: str, value: Any, annotation: Any) -> None:
    if annotation is Any:
        return
    if not _is(value, annotation):
        raise _wrong(path, _NOUNS.get(annotation, f"a {annotation.__name__}"), value)
    if is_dataclass(value) and annotation is not Model:
        _check_fields(f"{path}.", value)


_CHECKS: Mapping[Any, Callable[[str, Any, Any], None]] = {
    Union: _check_optional,
    types.UnionType: _check_optional,
    Literal: _check_literal,
    tuple: _check_tuple,
    Mapping: _check_mapping,
}
"""The check for the origin of an annotation. Every union in a request is a type or None."""


def _check_fields(prefix: str, value: Any) -> None:
    kind: Any = type(value)
    for name, annotation in _hints(kind).items():
        _check(f"{prefix}{name}", getattr(value, name), annotation)


def _is(value: object, annotation: type) -> bool:
    if annotation in (int, float) and isinstance(value, bool):
        return False
    if annotation is float:
        return isinstance(value, (int, float)) and value == value  # not NaN
    return isinstance(value, annotation)


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind, localns={"Model": Model})
    return {field.name: hints[field.name] for field in fields(kind)}


def _wrong(path: str, expected: str, value: object) -> InvalidOption:
    return InvalidOption(path, f"must be {expected}, not {_show(value)}")


def _show(value: object) -> str:
    if isinstance(value, Enum) or is_dataclass(value):
        return f"a {type(value).__name__}"
    return shorten(repr(value), _LONGEST)
