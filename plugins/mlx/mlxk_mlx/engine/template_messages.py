"""What a process that renders chat templates is sent, and what it answers: a byte, then the text, or a failure as JSON.

Texts are not JSON: to write or parse millions of escaped line ends takes the server's lock for a second.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

_TEXT, _FAILURE = b"=", b"!"


class Request(NamedTuple):
    """A Jinja template or, with `code`, the path of a module of mlx-lm that renders in its place; and its variables."""

    template: str
    code: bool
    variables: Mapping[str, Any]


def encode_request(request: Request) -> bytes:
    """Return `request` as the body of a message. Its variables are JSON values."""
    try:
        fields: Any = tuple(request)
        return marshal.dumps(fields)
    except ValueError:  # another type, or too deep
        return marshal.dumps(json.loads(json.dumps(request, default=_plain)))


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def decode_request(body: bytes) -> Request:
    """Return what `encode_request` encoded."""
    return Request(*marshal.loads(body))


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
