"""Arguments of tool calls in APIs that have them as objects."""

from __future__ import annotations

from typing import Any

import msgspec

from mlxk_core.api.text import json_shape

UNPARSED = "_unparsed"
"""The only name in arguments that are not a JSON object, as those of a call that was cut off: its value is their
text."""
_MOST_IN_LONG_NUMBERS = 100_000
_LONGEST, _MOST_VALUES = 1 << 20, 1 << 18
"""Characters, and values, of arguments that are read: a tenth of a second, with the interpreter locked."""


def arguments_object(arguments: str) -> dict[str, Any]:
    """Return the arguments of a call that a model wrote as an object.

    Its only name is `UNPARSED` if they are not the JSON text of one, or have over a megabyte, 262,144 values or a
    thousand long numbers: to read more takes seconds, with the interpreter locked.
    """
    found: object = None
    if len(arguments) <= _LONGEST and _is_small(arguments.encode("utf-8", "surrogatepass")):
        try:
            found = msgspec.json.decode(arguments or "{}")
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            pass
    return found if isinstance(found, dict) else {UNPARSED: arguments}


def _is_small(arguments: bytes) -> bool:
    shape = json_shape(arguments)
    return shape.long_numbers <= _MOST_IN_LONG_NUMBERS and shape.values <= _MOST_VALUES
