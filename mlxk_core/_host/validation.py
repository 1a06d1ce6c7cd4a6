"""Validation of descriptions: every field of what a plugin returns has the type its documentation states."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from mlxk_core._host.specs import (
    SAMPLING_OPTIONS,
    AgentSpec,
    BackendSpec,
    CommandSpec,
    ConstraintSpec,
    Evidence,
    LifecycleListener,
    ModelSourceSpec,
    Quantization,
    QuantizationDetectorSpec,
    ReasoningExtractorSpec,
    ServerExtensionSpec,
    SettingsSection,
    StopPolicy,
    Strength,
    Verdict,
)
from mlxk_core._text.shorten import shorten

_T = TypeVar("_T")
Check = Callable[[Any], str | None]
"""Returns what the value must be, or None if it is valid."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_LONGEST = 60
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def checked(item: Any, of: type[_T]) -> _T:
    """Return `item` if it is a valid `of`. Raises `TypeError`."""
    if not isinstance(item, of):
        raise TypeError(f"it returns {type(item).__name__}, not {of.__name__}")
    validate(item)
    return item


def validate(description: object) -> None:
    """Raise `TypeError` naming the field, if a field of `description` has a wrong type or an impossible value."""
    for field, check in _FIELDS.get(type(description), {}).items():
        value = getattr(description, field)
        expected = check(value)
        if expected:
            raise TypeError(f"{type(description).__name__}.{field} must be {expected}, not {_show(value)}")


def _show(value: object) -> str:
    return f"{type(value).__name__} {shorten(repr(value), _LONGEST)}"


def _of(type_: type | tuple[type, ...], expected: str) -> Check:
    return lambda value: None if isinstance(value, type_) and not (isinstance(value, bool)) else expected


def _optional(check: Check) -> Check:
    def optional(value: object) -> str | None:
        expected = None if value is None else check(value)
        return expected and f"{expected} or None"

    return optional


def _many(check: Check, expected: str) -> Check:
    """Return a check for collections; a string is not one, although Python would iterate over its characters."""

    def many(value: Any) -> str | None:
        wrong = isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Collection)
        return expected if wrong or any(check(item) for item in value) else None

    return many


def _choice(*values: str) -> Check:
    return lambda value: None if isinstance(value, str) and value in values else " or ".join(map(repr, values))


def _name(value: object) -> str | None:
    return None if isinstance(value, str) and _NAME.fullmatch(value) else "a name (letters, digits, `_`, `-`, `.`)"


def _line(value: object) -> str | None:
    return None if isinstance(value, str) and "\n" not in value else "one line of text"


def _target(value: object) -> str | None:
    if callable(value) or (isinstance(value, str) and _TARGET.fullmatch(value)):
        return None
    return 'a callable or "package.module:attribute"'


def _function(value: object) -> str | None:
    return None if callable(value) else "a function"


_text = _of(str, "a string")
_nonempty = lambda value: None if isinstance(value, str) and value else "a string that is not empty"  # noqa: E731
_number = _of((int, float), "a number")
_flag: Check = lambda value: None if isinstance(value, bool) else "True or False"  # noqa: E731
_texts = _many(_nonempty, "a tuple or set of strings that are not empty")


def _sampling(value: object) -> str | None:
    if _texts(value) is None and isinstance(value, Collection) and set(value) <= SAMPLING_OPTIONS:
        return None
    return f"a set of {', '.join(sorted(SAMPLING_OPTIONS))}"


_FIELDS: Mapping[type, Mapping[str, Check]] = {
    CommandSpec: {
        "name": _name,
        "summary": _line,
        "target": _target,
        "aliases": _many(_name, "a tuple of names"),
        "requires": _optional(_function),
        "section": _line,
    },
    BackendSpec: {
        "name": _name,
        "summary": _line,
        "accepts": _function,
        "target": _target,
        "estimate": _optional(_target),
        "renderer": _optional(_target),
        "constraints": _flag,
        "prompt_logprobs": _flag,
        "sampling": _sampling,
        "tools": _flag,
        "tasks": _many(_nonempty, "a tuple or set of strings that are not empty"),
        "framework": _optional(_nonempty),
        "type": _optional(_nonempty),
    },
    ModelSourceSpec: {"name": _name, "summary": _line, "target": _target},
    StopPolicy: {"stop_tokens": _texts, "keep_tokens": _texts, "stop_strings": _texts},
    ReasoningExtractorSpec: {
        "name": _name,
        "summary": _line,
        "matches": _function,
        "target": _target,
        "tool_calls": _choice("none", "own", "around"),
        "grammar": _optional(_target),
    },
    QuantizationDetectorSpec: {"name": _name, "detect": _function},
    LifecycleListener: {
        "name": _name,
        "on_load": _optional(_function),
        "on_unload": _optional(_function),
        "on_request": _optional(_function),
        "on_finish": _optional(_function),
    },
    ServerExtensionSpec: {"name": _name, "summary": _line, "target": _target},
    ConstraintSpec: {"kind": _name, "target": _target},
    AgentSpec: {
        "name": _name,
        "summary": _line,
        "executable": _nonempty,
        "install": _nonempty,
        "target": _target,
    },
    SettingsSection: {"name": _name, "summary": _line, "type": _target},
    Verdict: {"answer": _choice("yes", "no", "foreign"), "reason": _text},
    Evidence: {"strength": _of(Strength, "a Strength"), "detail": _text},
    Quantization: {
        "format": _nonempty,
        "label": _text,
        "method": _nonempty,
        "mode": _optional(_text),
        "bits": _optional(_number),
        "group_size": _optional(_number),
        "bits_per_weight": _optional(_number),
        "mixed": _flag,
        "requires_mlx": _optional(_text),
        "variants": _many(lambda value: None, "a tuple of Variant"),
        "notes": _many(_text, "a tuple of strings"),
    },
}
