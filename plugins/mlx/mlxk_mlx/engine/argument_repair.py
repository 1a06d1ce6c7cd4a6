"""Repair of tool-call arguments that a model cut short or encoded twice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_CLOSERS = {"{": "}", "[": "]"}
_MAX_LENGTH = 1 << 20
"""Longer arguments are not repaired: each attempt parses all of them."""


def repaired_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that `text` holds, or None if it cannot be made out.

    Empty text and `null` are an empty object. An object inside a JSON string is taken out of it. Text that ends inside
    an object is completed: the last string and all brackets are closed, and a key without a value gets null.
    """
    if not text.strip():
        return {}
    value = _parse(text)
    if isinstance(value, str):
        value = _parse(value)
    if isinstance(value, dict):
        return value
    if value is not _INVALID:
        return {} if value is None else None
    return _complete(text)


_INVALID = object()


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _INVALID


def _complete(text: str) -> dict[str, Any] | None:
    text = text.strip()
    if not text.startswith("{") or len(text) > _MAX_LENGTH:
        return None
    scanned = _scan(text)
    if scanned is None or not scanned.closers:
        return None
    whole = (text[:-1] if scanned.escaped else text) + ('"' if scanned.in_string else "")
    candidates = [whole + end + scanned.closers for end in ("", "null", ": null")]
    for cut in reversed(scanned.cuts[-2:]):
        before = _scan(text[:cut])
        candidates += [text[:cut] + before.closers] if before else []
    for candidate in candidates:
        value = _parse(candidate)
        if isinstance(value, dict):
            return value
    return None


@dataclass(frozen=True, slots=True)
class _Scanned:
    """The end of JSON text: its missing closing brackets, and the positions at which all values before are complete."""

    closers: str
    in_string: bool
    escaped: bool
    cuts: list[int]


def _scan(text: str) -> _Scanned | None:
    """Return the state at the end of `text`, None if its brackets do not match."""
    open_brackets: list[str] = []
    in_string = escaped = False
    cuts = []
    for position, character in enumerate(text):
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in _CLOSERS:
            open_brackets.append(_CLOSERS[character])
            cuts.append(position + 1)
        elif character in _CLOSERS.values():
            if not open_brackets or open_brackets.pop() != character:
                return None
        elif character == ",":
            cuts.append(position)
    return _Scanned("".join(reversed(open_brackets)), in_string, escaped, cuts)
