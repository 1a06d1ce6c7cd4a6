"""Types of a request: a value of another type than its field's is an error of the caller, not of the backend."""

from __future__ import annotations

import types
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
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


@dataclass(frozen=True, slots=True)
class _Mismatch:
    """A value of another type than `expected`. `path` leads to it from the value that was checked: `[0].name`."""

    expected: str
    value: object
    path: str = ""
    is_key: bool = False
    """Whether it is a key of the mapping at `path`."""

    def below(self, part: str) -> _Mismatch:
        return replace(self, path=part + self.path)

    def error(self) -> InvalidOption:
        path = self.path.removeprefix(".")
        return InvalidOption(
            f"a key of {path}" if self.is_key else path, f"must be {self.expected}, not {_show(self.value)}"
        )


_Check = Callable[[Any], _Mismatch | None]
"""A conversation has thousands of values: their paths are put together only where one does not match."""


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
        found = _check_prompt(value) if name == "prompt" else _check_of(annotation)(value)
        if found is not None:
            # An option of sampling is known by its own name.
            raise (found if name == "sampling" and found.path else found.below(f".{name}")).error()


def _check_prompt(prompt: object) -> _Mismatch | None:
    if isinstance(prompt, str) or (isinstance(prompt, array) and prompt.typecode == "q"):
        return None
    if not isinstance(prompt, (list, tuple)):
        return _Mismatch(_PROMPT, prompt)
    if prompt and isinstance(prompt[0], Message):
        return _first(prompt, _check_of(Message))
    check = _check_of(int)
    for number, part in enumerate(prompt):
        if type(part) is not int:  # token ids may be many
            found = check(part) if isinstance(part, int) else _Mismatch("a message or a token id", part)
            if found is not None:
                return found.below(f"[{number}]")
    return None


def _first(values: Iterable[object], check: _Check) -> _Mismatch | None:
    """Return what is wrong with the first of `values` that does not match."""
    for number, value in enumerate(values):
        if (found := check(value)) is not None:
            return found.below(f"[{number}]")
    return None


@cache
def _check_of(annotation: Any) -> _Check:
    """Return the check of a value whose type `annotation` names."""
    return _CHECKS.get(get_origin(annotation), _check_of_type)(annotation)


def _check_of_optional(annotation: Any) -> _Check:
    [kind] = [each for each in get_args(annotation) if each is not type(None)]
    check = _check_of(kind)
    return lambda value: None if value is None else check(value)


def _check_of_literal(annotation: Any) -> _Check:
    allowed = get_args(annotation)
    expected = f"one of {', '.join(map(str, allowed))}"
    return lambda value: None if value in allowed else _Mismatch(expected, value)


def _check_of_tuple(annotation: Any) -> _Check:
    check_item = _check_of(get_args(annotation)[0])

    def check(value: Any) -> _Mismatch | None:
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            return _Mismatch("a tuple", value)
        return _first(value, check_item)

    return check


def _check_of_mapping(annotation: Any) -> _Check:
    check_key, check_item = map(_check_of, get_args(annotation))

    def check(value: Any) -> _Mismatch | None:
        if not isinstance(value, Mapping):
            return _Mismatch("a mapping", value)
        for key, each in value.items():
            if (found := check_key(key)) is not None:
                return replace(found, path="", is_key=True)
            if (found := check_item(each)) is not None:
                return found.below(f"[{key!r}]")
        return None

    return check


def _check_of_type(annotation: Any) -> _Check:
    if annotation is Any:
        return lambda value: None
    expected = _NOUNS.get(annotation, f"a {annotation.__name__}")
    if is_dataclass(annotation) and annotation is not Model:
        return _check_of_fields(annotation, expected)
    if annotation in (int, float):
        return lambda value: None if _is_number(value, annotation) else _Mismatch(expected, value)
    return lambda value: None if isinstance(value, annotation) else _Mismatch(expected, value)


def _check_of_fields(kind: Any, expected: str) -> _Check:
    checks = [(name, _check_of(annotation)) for name, annotation in _hints(kind).items()]

    def check(value: Any) -> _Mismatch | None:
        if not isinstance(value, kind):
            return _Mismatch(expected, value)
        for name, check_field in checks:
            if (found := check_field(getattr(value, name))) is not None:
                return found.below(f".{name}")
        return None

    return check


_CHECKS: Mapping[Any, Callable[[Any], _Check]] = {
    Union: _check_of_optional,
    types.UnionType: _check_of_optional,
    Literal: _check_of_literal,
    tuple: _check_of_tuple,
    Mapping: _check_of_mapping,
}
"""For the origin of an annotation, what makes its check. Every union in a request is a type or None."""


def _is_number(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (kind is float and isinstance(value, float) and value == value)  # not NaN


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind, localns={"Model": Model})
    return {field.name: hints[field.name] for field in fields(kind)}


def _show(value: object) -> str:
    if isinstance(value, Enum) or is_dataclass(value):
        return f"a {type(value).__name__}"
    return shorten(repr(value), _LONGEST)
