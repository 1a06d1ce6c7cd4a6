"""Texts in JSON objects of any shape: a value of another type is an error, and never shown or converted.

The text of two million numbers takes seconds with the interpreter locked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxk_core.api.errors import InvalidOption
from mlxk_protocol.decode import required


def string(fields: Mapping[str, Any], name: str, at: str) -> str:
    """Return the text `name` of the object at `at`. Raises `InvalidOption` if it is absent or not a text."""
    text = optional_string(fields, name, at)
    if text is None:
        raise required(f"{at}.{name}")
    return text


def optional_string(fields: Mapping[str, Any], name: str, at: str) -> str | None:
    """Return the text `name` of the object at `at`, None if absent. Raises `InvalidOption` for another value."""
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InvalidOption(f"{at}.{name}", "expected a string")
