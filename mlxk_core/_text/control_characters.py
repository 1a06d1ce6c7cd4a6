"""Control characters in text that mlxk did not write."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def escape_control(text: str) -> str:
    """Return `text` with control characters escaped (`\\x1b`), so that a model's files cannot control the terminal."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """Return `text` on one line: white space as single spaces, control characters escaped."""
    return escape_control(" ".join(text.split()))
