"""Calls in DSML, the markup of DeepSeek V3.2 and V4: tags that say which arguments are bare text."""

from __future__ import annotations

import json
import re
from typing import Any

from mlxk_mlx.formats.tool_call_parser import OpenString, ends_in_json_string

_INVOKE = re.compile(r'\s*<｜DSML｜invoke name="([^"]+)">')
_PARAMETER = re.compile(r'\s*<｜DSML｜parameter name="([^"]+)"(?: string="(true|false)")?>')
_INVOKE_END = re.compile(r"\s*</｜DSML｜invoke>")
_SPACE = re.compile(r"\s*")
_PARAMETER_END = "</｜DSML｜parameter>"


def markers_of(template: str) -> tuple[str, str]:
    """Return the markers around all calls, in the version that a chat template shows."""
    name = "tool_calls" if "<｜DSML｜tool_calls>" in template else "function_calls"
    return f"<｜DSML｜{name}>", f"</｜DSML｜{name}>"


def dsml(text: str, tools: Any = None) -> list[dict[str, Any]]:
    """Read the calls between the markers. Raises `ValueError` where they are not DSML or incomplete, `OpenString` where
    the text ends inside a string of JSON."""
    calls, at = [], 0
    while invoked := _INVOKE.match(text, at):
        arguments, at = _arguments(text, invoked.end())
        ended = _INVOKE_END.match(text, at)
        if ended is None:
            raise ValueError("a call without its end")
        at = ended.end()
        calls.append({"name": invoked[1], "arguments": arguments})
    if not calls or text[at:].strip():
        raise ValueError("not a call")
    return calls


def _arguments(text: str, at: int) -> tuple[dict[str, Any], int]:
    arguments: dict[str, Any] = {}
    while opened := _PARAMETER.match(text, at):
        begin = opened.end()
        if opened[2] == "false":
            try:
                value, end = json.JSONDecoder().raw_decode(text, _SPACE.match(text, begin).end())  # type: ignore[union-attr]
            except ValueError:
                if ends_in_json_string(text[begin:]):
                    raise OpenString from None
                raise
        else:
            end = text.find(_PARAMETER_END, begin)
            value = text[begin:end]
        closing = text.find(_PARAMETER_END, end) if end >= 0 else -1
        if closing < 0 or text[end:closing].strip():
            raise ValueError("an argument without its end")
        arguments[opened[1]] = value
        at = closing + len(_PARAMETER_END)
    return arguments, at
