"""Tool calls as mlx-lm's and transformers' parsers return them, validated and numbered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from mlxk_core.api.formats import new_call_id
from mlxk_core.api.generation import Tool, ToolCallDelta
from mlxk_core.api.text import ends_in_string
from mlxk_mlx.formats.time_limit import ResponseTimeLimit

LONGEST_CALL = 1 << 20
"""Characters of one call, or of calls between two markers. What is longer is text."""


class OpenString(ValueError):
    """The text ends inside a JSON string of the arguments."""


class Ending(Enum):
    """Where the text of an incomplete call ends."""

    STRING = auto()
    """Inside a JSON string, so that everything up to the next quote is a part of it."""
    PERHAPS_STRING = auto()
    """Inside a string, if the quotes in the text are those of strings."""
    OUTSIDE = auto()


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call. `id` is the model's own, if it wrote one."""

    name: str
    arguments: str
    id: str | None = None


class CallReader:
    """Reads calls with `parse`, which takes a text and OpenAI's `tools`, returns anything and raises at will.

    `limit` is the time for all calls of the response: once it is exceeded, there are no more.
    """

    def __init__(self, parse: Callable[[str, list[dict[str, Any]]], Any], tools: Sequence[Tool]) -> None:
        self.limit = ResponseTimeLimit()
        self._parse = parse
        self._properties = {tool.name: _mapping(tool.parameters.get("properties")) for tool in tools}
        self._tools = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": {"properties": {}, **tool.parameters},
                },
            }
            for tool in tools
        ]

    @property
    def names(self) -> Collection[str]:
        """The names of the tools."""
        return self._properties.keys()

    def read_closed(self, text: str) -> tuple[Call, ...]:
        """Return the calls in `text`, which ended with a marker; none if any part of it is not a call."""
        calls = self._read(text)
        return calls if all(map(self._is_meant, calls)) else ()

    def read_unclosed(self, text: str) -> tuple[Call, ...]:
        """Return the calls in `text`, which the end of the answer may have cut off.

        They count only if without the last character there would be fewer: then nothing follows the last one that a
        parser passed over, like the beginning of another.
        """
        calls = self.read_closed(text)
        known = all(call.name in self._properties for call in calls)
        return calls if known and len(self._read(text.rstrip()[:-1])) < len(calls) else ()

    def ending(self, text: str) -> Ending:
        """Return whether `text` ends inside a string of the arguments, so that a marker after it is a part of that."""
        if self.limit.exceeded:
            return Ending.OUTSIDE
        with self.limit:
            try:
                self._parse(text, self._tools)
            except OpenString:
                return Ending.STRING
            except TimeoutError:
                self.limit.exhaust()
            except Exception:  # see _read
                pass
            if not ends_in_json_string(text):
                return Ending.OUTSIDE
            return Ending.STRING if text.lstrip().startswith("{") else Ending.PERHAPS_STRING

    def _read(self, text: str) -> tuple[Call, ...]:
        if self.limit.exceeded or len(text) > LONGEST_CALL:
            return ()
        with self.limit:
            try:
                return tuple(map(_call, _flat(self._parse(text, self._tools))))
            except TimeoutError:
                self.limit.exhaust()
            except Exception:  # text of a model: parsers raise whatever they stumble over
                pass
            return ()

    def _is_meant(self, call: Call) -> bool:
        """Whether it is more than markers around a word of prose. A made-up function with arguments is left to the
        client to reject."""
        keys = json.loads(call.arguments).keys()
        if call.name not in self._properties:
            return bool(keys) and keys != {"raw"}
        # What mlx-lm's parser of GLM cannot read it passes on as an argument of this name.
        return keys != {"raw"} or "raw" in self._properties[call.name]


class CallEvents:
    """Numbers the calls of one response and assigns each a unique id."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def of(self, calls: Iterable[Call]) -> Iterator[ToolCallDelta]:
        for call in calls:
            # A model that writes ids expects to read them again in the history (Kimi K2).
            identifier = call.id if call.id and call.id not in self._ids else new_call_id()
            yield ToolCallDelta(len(self._ids), identifier, call.name, call.arguments)
            self._ids.add(identifier)


def _call(parsed: Any) -> Call:
    function = _object(parsed)
    identifier = function.get("id")
    function = _object(function.get("function", function))
    name = function["name"]
    arguments = function.get("arguments", function.get("parameters"))
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(name, str) or not re.fullmatch(r"[^\s<>]+", name):
        raise ValueError(f"not a function name: {name!r}")
    name.encode()
    text = _json({} if arguments is None else _object(arguments))
    return Call(name, text, identifier if isinstance(identifier, str) and identifier else None)


def _json(arguments: Mapping[Any, Any]) -> str:
    text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can say and UTF-8 cannot
        text = json.dumps(arguments)
    return text


def _flat(parsed: Any) -> Iterator[Any]:
    if isinstance(parsed, list):
        for each in parsed:
            yield from _flat(each)
    else:
        yield parsed


def _object(value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"not a JSON object: {value!r}")
    return value


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def ends_in_json_string(text: str) -> bool:
    """Return whether `text` is JSON so far, and ends inside a string."""
    return text.lstrip().startswith(("{", "[", '"')) and ends_in_string(text)
