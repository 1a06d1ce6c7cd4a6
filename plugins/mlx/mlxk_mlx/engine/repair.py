"""Repair of tool-call arguments that a model cut short or encoded twice."""

from __future__ import annotations

import json
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
    value = _parsed(text)
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, dict):
        return value
    if value is not _INVALID:
        return {} if value is None else None
    return _completed(text)


_INVALID = object()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _INVALID


def _completed(text: str) -> dict[str, Any] | None:
    text = text.strip()
    if not text.startswith("{") or len(text) > _MAX_LENGTH:
        return None
    open_brackets, in_string, escaped = [], False, False
    cuts = []  # ends of the text at which all values before are whole, with the brackets that are open there
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
            cuts.append((position + 1, tuple(open_brackets)))
        elif character in _CLOSERS.values():
            if not open_brackets or open_brackets.pop() != character:
                return None
        elif character == ",":
            cuts.append((position, tuple(open_brackets)))
    if not open_brackets:
        return None
    closing = "".join(reversed(open_brackets))
    whole = (text[:-1] if escaped else text) + ('"' if in_string else "")
    candidates = [whole + end + closing for end in ("", "null", ": null")]
    candidates += [text[:end] + "".join(reversed(brackets)) for end, brackets in cuts[:-3:-1]]
    for candidate in candidates:
        value = _parsed(candidate)
        if isinstance(value, dict):
            return value
    return None
