"""Readers of tool calls that mlx-lm does not know, and the types that its readers of tags lose."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlxk_mlx.formats.argument_types import definitions_of, value_of

Parse = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True)
class Reader:
    """A format of calls: its markers and what reads the text between them."""

    start: str
    end: str
    parse: Parse


def deepseek(text: str, tools: Any = None) -> Any:
    """Read `name<｜tool▁sep｜>{…}`, or `function<｜tool▁sep｜>name` and a fence of JSON; one or more calls."""
    calls = []
    for body in re.findall(r"<｜tool▁call▁begin｜>(.*?)(?:<｜tool▁call▁end｜>|\Z)", text, re.DOTALL):
        name, mark, rest = body.partition("<｜tool▁sep｜>")
        if not mark:
            raise ValueError("a call without a separator")
        fenced = re.match(r"\s*([^\n`]+)\s*```(?:json)?\s*(.*?)\s*```", rest, re.DOTALL)
        if name.strip() == "function" and fenced:
            name, rest = fenced[1], fenced[2]
        calls.append({"name": name.strip(), "arguments": json.loads(rest)})
    if not calls:
        raise ValueError("no call")
    return calls


def granite(text: str, tools: Any = None) -> Any:
    """Read a JSON list of calls; text may follow it."""
    calls, _ = json.JSONDecoder().raw_decode(text.strip())
    return calls if isinstance(calls, list) else [calls]


def command_r(text: str, tools: Any = None) -> Any:
    """Read a JSON list of `tool_name` and `parameters`. `directly_answer` is not a call."""
    listed, _ = json.JSONDecoder().raw_decode(text.strip())
    calls = [
        {"name": call["tool_name"], "arguments": call.get("parameters") or {}}
        for call in (listed if isinstance(listed, list) else [listed])
        if call["tool_name"] not in ("directly_answer", "directly-answer")
    ]
    if not calls:
        raise ValueError("no call")
    return calls


READERS: Mapping[str, Callable[[str], Reader]] = {
    "deepseek": lambda template: Reader("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", deepseek),
    "granite": lambda template: Reader("<|tool_call|>", "", granite),
    "command_r": lambda template: (
        Reader("<|START_ACTION|>", "<|END_ACTION|>", command_r)
        if "<|START_ACTION|>" in template
        else Reader("Action:```json" if "Action:```json" in template else "Action: ```json", "```", command_r)
    ),
}


def infer(template: str, added_tokens: Mapping[str, Any]) -> str | None:
    """Return the name of the format that a template or a vocabulary shows, of those that mlx-lm does not know."""
    if "<｜tool▁calls▁begin｜>" in template or "<｜tool▁call▁begin｜>" in template:
        return "deepseek"
    if "<|START_ACTION|>" in template or ("directly_answer" in template and "Action:" in template):
        return "command_r"
    if "<|tool_call|>" in template:
        return "granite"
    if "<|python_tag|>" in added_tokens and "tools" in template and '"parameters"' in template:
        return "llama3"
    return None


_TAGGED: Mapping[str, tuple[re.Pattern[str], re.Pattern[str], str]] = {
    "qwen3_coder": (
        re.compile(r"<function=\s*([^\s<>]+)>?(.*?)</function>(?=\s*(?:\Z|<function=|</tool_call>))", re.DOTALL),
        re.compile(r"<parameter=\s*([^\s<>]+)>?(.*?)</parameter>", re.DOTALL),
        "\n",
    ),
    "glm47": (
        re.compile(r"\A\s*([^\s<]+)(.*)\Z", re.DOTALL),
        re.compile(r"<arg_key>\s*(.*?)\s*</arg_key>(?:\\n|\s)*<arg_value>(.*?)</arg_value>", re.DOTALL),
        "",
    ),
    "longcat": (
        re.compile(r"\A\s*([^\s<{]+)(.*)\Z", re.DOTALL),
        re.compile(
            r"<longcat_arg_key>\s*(.*?)\s*</longcat_arg_key>(?:\\n|\s)*<longcat_arg_value>(.*?)</longcat_arg_value>",
            re.DOTALL,
        ),
        "",
    ),
    "minimax_m2": (
        re.compile(r"<invoke name=\"?([^\s\"<>]+)\"?>(.*?)</invoke>", re.DOTALL),
        re.compile(r"<parameter name=\"?([^\"<>]+)\"?>(.*?)</parameter>", re.DOTALL),
        "",
    ),
    "muse_spark": (
        re.compile(r"<atem:invoke\b[^>]*?\bname=\"([^\"]+)\">(.*?)</atem:invoke>", re.DOTALL),
        re.compile(r"<atem:parameter\b[^>]*?\bname=\"([^\"]+)\"[^>]*?>(.*?)</atem:parameter>", re.DOTALL),
        "",
    ),
    "minicpm5": (
        re.compile(r"\"([^\"]+)\"\s*>(.*)\Z", re.DOTALL),
        re.compile(r"<param name=\"([^\"]+)\"\s*>(?:<!\[CDATA\[)?(.*?)(?:\]\]>)?</param>", re.DOTALL),
        "",
    ),
}
_TAGGED = {**_TAGGED, "laguna": _TAGGED["glm47"]}


def typed(name: str, parse: Parse) -> Parse:
    """Return `parse` with the arguments of declared types as the tool's schema says.

    mlx-lm guesses the type of a value between two tags: a text `null` becomes none, a number that may be absent text.
    """
    if name not in _TAGGED:
        return parse
    call_pattern, argument_pattern, edge = _TAGGED[name]

    def read(text: str, tools: Any = None) -> Any:
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools or ()}
        found = call_pattern.findall(text)
        known = [(call, body) for call, body in found if call in schemas]
        if not known or len(known) != len(found):
            return parse(text, tools)
        calls = []
        for call, body in known:
            raw = {key: _without(value, edge) for key, value in argument_pattern.findall(body)}
            calls.append({"name": call, "arguments": _values(raw, schemas[call], lambda: parse(text, tools), call)})
        return calls

    return read


def _values(raw: Mapping[str, str], schema: Mapping[str, Any], guessed: Callable[[], Any], call: str) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    definitions = definitions_of(schema)
    values: dict[str, Any] = {}
    for key, text in raw.items():
        described = properties.get(key)
        try:
            if not isinstance(described, Mapping):
                raise ValueError(key)
            values[key] = value_of(text, {**definitions, **described})
        except ValueError:
            values[key] = _guess(guessed(), call, key, text)
    return values


def _guess(parsed: Any, call: str, key: str, text: str) -> Any:
    for each in parsed if isinstance(parsed, list) else [parsed]:
        if isinstance(each, Mapping) and each.get("name") == call and key in (each.get("arguments") or {}):
            return each["arguments"][key]
    return text


def _without(text: str, edge: str) -> str:
    return text.removeprefix(edge).removesuffix(edge) if edge else text
