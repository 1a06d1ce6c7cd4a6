"""Calls whose arguments are written between tags, read by the types that the tool's schema declares.

mlx-lm guesses the type of a value between two tags: a text `null` becomes none, a number that may be absent text. Its
readers also end a value at the first closing tag, where a JSON string may contain one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlxk_mlx.formats.argument_types import definitions_of, types_of, value_of
from mlxk_mlx.formats.gemma_calls import gemma4
from mlxk_mlx.formats.marked_calls import kimi_k2
from mlxk_mlx.formats.python_code import short_python
from mlxk_mlx.formats.time_limit import check_time
from mlxk_mlx.formats.tool_call_parser import OpenString, ends_in_json_string

Parse = Callable[[str, Any], Any]

_SPACE = re.compile(r"(?:\\n|\s)*")
_BLANK = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of a format: `call` and `argument` open with a name in their first group. An empty `call_end`: a call
    reaches to the end. `edge` is written around a value, `text` around strings."""

    call: re.Pattern[str]
    call_end: str
    argument: re.Pattern[str]
    argument_end: str
    edge: str = ""
    text: tuple[str, str] = ("", "")


_GLM = Tags(
    re.compile(r"\s*([^\s<]+)"),
    "",
    re.compile(r"<arg_key>((?:(?!</arg_key>).)*)</arg_key>(?:\\n|\s)*<arg_value>", re.DOTALL),
    "</arg_value>",
)
_TAGS: Mapping[str, Tags] = {
    "qwen3_coder": Tags(
        re.compile(r"<function=\s*([^\s<>]+)>?"),
        "</function>",
        re.compile(r"<parameter=\s*([^\s<>]+)>?"),
        "</parameter>",
        "\n",
    ),
    "glm47": _GLM,
    "laguna": _GLM,
    "longcat": Tags(
        re.compile(r"\s*([^\s<{]+)"),
        "",
        re.compile(
            r"<longcat_arg_key>((?:(?!</longcat_arg_key>).)*)</longcat_arg_key>(?:\\n|\s)*<longcat_arg_value>",
            re.DOTALL,
        ),
        "</longcat_arg_value>",
    ),
    "minimax_m2": Tags(
        re.compile(r"<invoke name=\"?([^\s\"<>]+)\"?>"),
        "</invoke>",
        re.compile(r"<parameter name=\"?([^\"<>]+)\"?>"),
        "</parameter>",
    ),
    "muse_spark": Tags(
        re.compile(r"<atem:invoke\b[^>]*?\bname=\"([^\"]+)\">"),
        "</atem:invoke>",
        re.compile(r"<atem:parameter\b(?=[^>]*+>)[^>]*?\bname=\"([^\"]+)\"[^>]*?>"),
        "</atem:parameter>",
    ),
    "minicpm5": Tags(
        re.compile(r"\"([^\"]+)\"\s*>"),
        "",
        re.compile(r"<param name=\"([^\"]+)\"\s*>"),
        "</param>",
        text=("<![CDATA[", "]]>"),
    ),
}


def with_types(name: str, parse: Parse) -> Parse:
    """Return `parse` with arguments of the types that the tools declare, where they are written between tags, with
    values that go on after a marker inside one of their strings, and with a limit on Python code."""
    if name == "kimi_k2":
        return kimi_k2(parse)
    if name == "gemma4":
        return gemma4
    if name == "pythonic":
        return short_python(parse)
    tags = _TAGS.get(name)
    if tags is None:
        return parse

    def read(text: str, tools: Any = None) -> Any:
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools or ()}
        found = read_tags(text, tags, schemas)
        return parse(text, tools) if found is None else _values(found, schemas, _Guesses(parse, text, tools))

    return read


def read_tags(
    text: str, tags: Tags, schemas: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, dict[str, str]]] | None:
    """Return the calls in `text` with their arguments as they are written, None if there is more than calls of known
    tools. Raises `OpenString` if the text ends in a string of an argument."""
    calls: list[tuple[str, dict[str, str]]] = []
    at = 0
    while (opened := tags.call.match(text, _SPACE.match(text, at).end())) is not None:  # type: ignore[union-attr]
        name = opened[1]
        if name not in schemas:
            return None
        values, at = _arguments(text, opened.end(), tags, schemas[name])
        if tags.call_end and not text.startswith(tags.call_end, at):
            return None
        at += len(tags.call_end)
        calls.append((name, values))
    rest = text[at:].strip()
    return calls if calls and (not rest or rest.startswith("</")) else None


def _arguments(text: str, at: int, tags: Tags, schema: Mapping[str, Any]) -> tuple[dict[str, str], int]:
    values: dict[str, str] = {}
    while True:
        check_time()  # to see whether a value ends takes as long as all that follows it
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
        opened = tags.argument.match(text, at)
        if opened is None:
            return values, at
        name = opened[1].strip()
        begin = opened.end() + (len(tags.edge) if text.startswith(tags.edge, opened.end()) else 0)
        end = _json_end(text, begin, tags, _schema_of(name, schema))
        if end is None:
            opening, closing = tags.text
            quoted = bool(opening) and text.startswith(opening, begin)
            begin += len(opening) if quoted else 0
            closer = (closing if quoted else "") + tags.argument_end
            end = text.find(closer, begin)
            if end < 0:
                return values, at
            after = end + len(closer)
            value = text[begin:end]
            values[name] = value.removesuffix(tags.edge) if tags.edge else value
        else:
            values[name] = text[begin:end]
            after = text.index(tags.argument_end, end) + len(tags.argument_end)
        at = after


def _json_end(text: str, begin: int, tags: Tags, schema: Any) -> int | None:
    """Return the end of a JSON value before a closing tag; None if it is not JSON, or may be bare text."""
    if schema is None or types_of(schema) == {"string"}:
        return None
    try:
        _, end = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        if ends_in_json_string(text[begin:]):
            raise OpenString from None
        return None
    after = _BLANK.match(text, end).end()  # type: ignore[union-attr]
    return end if text.startswith(tags.argument_end, after) else None


def _schema_of(name: str, schema: Mapping[str, Any]) -> Any:
    described = (schema.get("properties") or {}).get(name)
    return {**definitions_of(schema), **described} if isinstance(described, Mapping) else None


def _values(
    calls: list[tuple[str, dict[str, str]]], schemas: Mapping[str, Mapping[str, Any]], guesses: _Guesses
) -> list[dict[str, Any]]:
    read = []
    for name, raw in calls:
        values: dict[str, Any] = {}
        for key, text in raw.items():
            try:
                described = _schema_of(key, schemas[name])
                if described is None:
                    raise ValueError(key)
                values[key] = value_of(text, described)
            except ValueError:
                values[key] = guesses.value(name, key, text)
        read.append({"name": name, "arguments": values})
    return read


class _Guesses:
    """What `parse` takes the arguments in `text` for. It is asked once, and only if it must be: that takes long."""

    def __init__(self, parse: Parse, text: str, tools: Any) -> None:
        self._parse = partial(parse, text, tools)
        self._values: dict[tuple[Any, Any], Any] | None = None

    def value(self, call: str, key: str, text: str) -> Any:
        """Return the value of the argument `key` in the first call of `call` that has it, else `text`."""
        if self._values is None:
            self._values = {}
            parsed = self._parse()
            for each in parsed if isinstance(parsed, list) else [parsed]:
                if isinstance(each, Mapping):
                    for name, value in (each.get("arguments") or {}).items():
                        self._values.setdefault((each.get("name"), name), value)
        return self._values.get((call, key), text)
