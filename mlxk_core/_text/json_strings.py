"""Strings in JSON that is still being written."""

from __future__ import annotations


def ends_in_string(text: str) -> bool:
    """Return whether `text`, the beginning of a JSON value, ends inside a string."""
    inside = escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = inside
        elif character == '"':
            inside = not inside
    return inside
