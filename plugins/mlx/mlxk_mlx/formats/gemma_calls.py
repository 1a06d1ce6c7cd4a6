"""Calls of Gemma 4: `call:name{key:value,…}`, whose strings stand between special tokens."""

from __future__ import annotations

import json
import re
from typing import Any

_QUOTE = '<|"|>'
_OPENER = re.compile(r"call:([\w-]+)(?=\{)")
_MARK = re.compile(r'<\|"\|>|[{}]')
_KEY = re.compile(r"(?<=[{,])(\w+):")
_UNCLOSED = 4
"""Openers without an end that are passed over: each one is searched up to the end of the text."""


def gemma4(text: str, tools: Any = None) -> list[dict[str, Any]]:
    """Read one call or more; other text is passed over. Raises `ValueError` if there is none, or one whose
    arguments are not JSON after all.

    mlx-lm's parser replaces the strings one by one in the whole text: 20,000 of them take seconds.
    """
    calls: list[dict[str, Any]] = []
    at = unclosed = 0
    while unclosed < _UNCLOSED and (opened := _OPENER.search(text, at)) is not None:
        arguments, at = _arguments(text, opened.end())
        if arguments is None:
            unclosed += 1
        else:
            calls.append({"name": opened[1], "arguments": json.loads(arguments)})
    if not calls:
        raise ValueError("no call")
    return calls


def _arguments(text: str, at: int) -> tuple[str | None, int]:
    """Return the object at `at` as JSON, and where it ends; None and `at` if it does not."""
    pieces: list[str] = []
    depth, begin, in_string = 0, at, False
    for mark in _MARK.finditer(text, at):
        if mark[0] == _QUOTE:
            piece = text[begin : mark.start()]
            pieces.append(json.dumps(piece) if in_string else _with_quoted_keys(piece))
            begin, in_string = mark.end(), not in_string
        elif not in_string:
            depth += 1 if mark[0] == "{" else -1
            if not depth:
                pieces.append(_with_quoted_keys(text[begin : mark.end()]))
                return "".join(pieces), mark.end()
    return None, at


def _with_quoted_keys(text: str) -> str:
    return _KEY.sub(r'"\1":', text)
