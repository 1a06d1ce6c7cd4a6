"""Calls written as Python, of a size that Python can parse."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"|' + r"'(?:[^'\\]++|\\.)*+'", re.DOTALL)
_LONGEST = 1 << 15
"""Characters outside of strings. Python's parser keeps the interpreter's lock, for a tenth of a second for these."""


def short_python(parse: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Return `parse`, which raises `ValueError` for code that is long without its strings."""

    def read(text: str, tools: Any = None) -> Any:
        if len(text) > _LONGEST and len(_STRING.sub("", text)) > _LONGEST:
            raise ValueError("too much Python code")
        return parse(text, tools)

    return read
