"""What a process that renders chat templates answers: a byte, then the text, or a failure as JSON.

The text is not a part of JSON: to parse millions of escaped line ends takes the server's lock for a second.
"""

from __future__ import annotations

import json
from typing import Literal, NamedTuple

_TEXT, _FAILURE = b"=", b"!"


class Failure(NamedTuple):
    """Why there is no text: an error of the template, or a limit of time and memory, or of the length of the text."""

    error: Literal["template", "limit", "output"]
    message: str


def encode(answer: str | Failure) -> bytes:
    """Return `answer` as the body of a message. Halves of characters pass as they are."""
    if isinstance(answer, Failure):
        return _FAILURE + json.dumps(answer).encode()
    return _TEXT + answer.encode("utf-8", "surrogatepass")


def decode(body: bytes) -> str | Failure:
    """Return what `encode` encoded."""
    if body.startswith(_TEXT):
        return str(memoryview(body)[len(_TEXT) :], "utf-8", "surrogatepass")
    return Failure(*json.loads(body[len(_FAILURE) :]))
