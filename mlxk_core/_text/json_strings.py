"""Strings in JSON that is still being written."""

from __future__ import annotations

import re

_CLOSED = re.compile(r'[^"]*+(?:"(?:[^"\\]++|\\.)*+"[^"]*+)*+', re.DOTALL)
"""Text up to the last string that is open; no part of it is read twice."""


def ends_in_string(text: str) -> bool:
    """Return whether `text`, the beginning of a JSON value, ends inside a string."""
    closed = _CLOSED.match(text)
    assert closed is not None
    return closed.end() < len(text)
