"""Tool calls that a limit cut: the name and the arguments so far, for formats whose arguments are JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping

from mlxk_mlx.formats.marked_calls import DEEPSEEK_HEADER, KIMI_HEADER
from mlxk_mlx.formats.tool_call_parser import Call

_BETWEEN = re.compile(r"(?:[\s,;\]}]|\[(?!TOOL_CALLS\])|```|<｜tool▁call▁end｜>|<\|tool_call_end\|>)*")
_JSON = (
    r'\{\s*(?:"(?:id|tool_call_id)"\s*:\s*"[^"]*"\s*,\s*)?"(?:tool_)?name"\s*:\s*"(?P<name>[^"\\]+)"\s*,'
    r'\s*"(?:arguments|parameters)"\s*:\s*'
)
_JSON_HEADER = re.compile(_JSON)
_HEADERS: Mapping[str, re.Pattern[str]] = {
    "command_r": _JSON_HEADER,
    "deepseek": DEEPSEEK_HEADER,
    "granite": _JSON_HEADER,
    "json_tools": _JSON_HEADER,
    "kimi_k2": KIMI_HEADER,
    "llama3": _JSON_HEADER,
    "mistral": re.compile(_JSON + r"|(?:\[TOOL_CALLS\])?(?P<header>[\w-]+)\[ARGS\]\s*"),
}
"""What comes before the arguments of a call."""
_OPENS = "{[<"
"""How a header of any of them begins."""


def cut_calls(format_name: str, text: str, tools: Collection[str]) -> tuple[Call, ...]:
    """Return the calls of `tools` in `text`, which a limit ended: the last one with the arguments so far.

    None of them if the name of the first call is incomplete, or if there is anything but calls. A call that is cut
    before its name is complete is left out.
    """
    header = _HEADERS.get(format_name)
    calls: list[Call] = []
    at = _begin(text, 0)
    while header is not None and (opened := header.match(text, at)):
        found = opened.groupdict()
        name = next(found[key] for key in ("name", "fenced", "header") if found.get(key))
        arguments = text[opened.end() :]
        if name not in tools or (arguments and arguments[0] != "{"):
            return ()
        try:
            _, length = json.JSONDecoder().raw_decode(arguments)
        except (ValueError, RecursionError):
            return (*calls, Call(name, arguments, found.get("id")))
        calls.append(Call(name, arguments[:length], found.get("id")))
        at = _begin(text, opened.end() + length)
    return tuple(calls) if at == len(text) or text[at] in _OPENS else ()


def _begin(text: str, at: int) -> int:
    between = _BETWEEN.match(text, at)
    return between.end() if between else at
