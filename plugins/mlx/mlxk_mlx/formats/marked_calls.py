"""Calls that are a header and JSON between markers, as DeepSeek and Kimi K2 write them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from mlxk_mlx.formats.tool_call_parser import OpenString, ends_in_json_string

# Possessive: white space that several parts may take is tried in all ways, with the interpreter's lock, for minutes.
DEEPSEEK_HEADER = re.compile(
    r"\s*+<｜tool▁call▁begin｜>\s*+"
    r"(?:function<｜tool▁sep｜>\s*+(?P<fenced>[^\s`<>]++)\s*+```(?:json)?|(?P<name>[^\s<>]++)\s*+<｜tool▁sep｜>)\s*+"
)
_DEEPSEEK_END = re.compile(r"\s*+(?:```)?\s*+(?:<｜tool▁call▁end｜>|\Z)")
KIMI_HEADER = re.compile(
    r"\s*+(?:<\|tool_call_begin\|>)?\s*+"
    r"(?P<id>(?:functions\.)?(?P<name>[^\s<]+):\d+)\s*+<\|tool_call_argument_begin\|>\s*+"
)
_KIMI_END = re.compile(r"\s*+(?:<\|tool_call_end\|>|\Z)")


def deepseek(text: str, tools: Any = None) -> list[dict[str, Any]]:
    """Read `name<｜tool▁sep｜>{…}`, or `function<｜tool▁sep｜>name` and a fence of JSON; one or more calls."""
    return _calls(text, DEEPSEEK_HEADER, _DEEPSEEK_END)


def kimi_k2(parse: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Return a reader of Kimi's calls; `parse` reads those whose arguments are not JSON."""

    def read(text: str, tools: Any = None) -> Any:
        try:
            return _calls(text, KIMI_HEADER, _KIMI_END)
        except OpenString:
            raise
        except ValueError:
            return parse(text, tools)

    return read


def _calls(text: str, header: re.Pattern[str], end: re.Pattern[str]) -> list[dict[str, Any]]:
    """Read calls one after the other. Raises `ValueError` where there is anything else, `OpenString` where the text
    ends inside a string of the arguments."""
    calls: list[dict[str, Any]] = []
    at = 0
    while opened := header.match(text, at):
        try:
            arguments, at = json.JSONDecoder().raw_decode(text, opened.end())
        except ValueError:
            if ends_in_json_string(text[opened.end() :]):
                raise OpenString from None
            raise
        closed = end.match(text, at)
        if closed is None:
            raise ValueError("a call without its end")
        at = closed.end()
        found = opened.groupdict()
        calls.append({"name": found["name"] or found["fenced"], "arguments": arguments})
        if found.get("id"):
            calls[-1]["id"] = found["id"]
    if not calls or text[at:].strip():
        raise ValueError("not a call")
    return calls
