"""Tools of a request, flat or in namespaces, and which of them must be called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlxk_core.api import Tool
from mlxk_core.api.errors import InvalidOption
from mlxk_protocol.decode import required
from mlxk_protocol.errors import call_without_tools, unknown_tool, unsupported_tool
from mlxk_protocol.fields import report_ignored
from mlxk_protocol.untyped import optional_string, string
from mlxk_responses.requests import MOST_TOOLS, Item

_SEPARATOR = "__"
_LONGEST_NAME = 256
"""Characters: the name of a namespace is put before each of its tools."""
# Codex offers web search with every request. Offered, not demanded, it may stay unused like any other tool.
_LEFT_UNUSED = ("web_search", "web_search_preview", "web_search_2025_08_26", "web_search_preview_2025_03_11")


def qualified_name(namespace: str, name: str) -> str:
    """Return the name under which the model knows a tool of a namespace."""
    return f"{namespace}{_SEPARATOR}{name}"


@dataclass(frozen=True)
class Tools:
    """The tools of a request. `namespaces` maps the model's name of a tool to its namespace and its own name."""

    tools: tuple[Tool, ...] = ()
    namespaces: dict[str, tuple[str, str]] = field(default_factory=dict)

    def split_name(self, name: str) -> tuple[str | None, str]:
        """Return the namespace (or None) and the name by which the client knows a tool."""
        return self.namespaces.get(name, (None, name))


@dataclass(frozen=True)
class ToolChoice:
    """Whether tools may (`auto`), must (`required`) or must not (`none`) be called, and which (empty: any)."""

    mode: str = "auto"
    names: tuple[str, ...] = ()


def read_tools(items: Sequence[Item]) -> Tools:
    """Return the function tools in `items`. Raises `InvalidOption` for a tool that would have to run on the server."""
    tools: list[Tool] = []
    namespaces: dict[str, tuple[str, str]] = {}
    for at, namespace, item in _functions(items):
        if len(tools) == MOST_TOOLS:
            raise InvalidOption("tools", f"at most {MOST_TOOLS} tools in all namespaces together")
        name = _name(item, at)
        known = qualified_name(namespace, name) if namespace else name
        if namespace:
            namespaces[known] = (namespace, name)
        tools.append(
            Tool(
                name=known,
                description=optional_string(item, "description", at) or "",
                parameters=_parameters(item, at),
                strict=bool(item.get("strict")),
                option=f"{at}.parameters",
            )
        )
    return Tools(tuple(tools), namespaces)


def _functions(items: Sequence[Item]) -> Iterator[tuple[str, str | None, Item]]:
    for index, item in enumerate(items):
        at = f"tools[{index}]"
        match string(item, "type", at):
            case "function":
                yield at, None, item
            case "namespace":
                for number, tool in enumerate(_objects(item.get("tools"), f"{at}.tools")):
                    inner = f"{at}.tools[{number}]"
                    if (kind := optional_string(tool, "type", inner) or "function") != "function":
                        raise unsupported_tool(inner, kind)
                    yield inner, _name(item, at), tool
            case kind if kind in _LEFT_UNUSED:
                report_ignored([at])
            case kind:
                raise unsupported_tool(at, kind)


def _objects(items: Any, at: str) -> Sequence[Item]:
    if items is None:
        return ()
    if not isinstance(items, list):
        raise InvalidOption(at, "expected an array")
    if len(items) > MOST_TOOLS:
        raise InvalidOption(at, f"at most {MOST_TOOLS} tools")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise InvalidOption(f"{at}[{index}]", "expected an object")
    return items


def _name(item: Item, at: str) -> str:
    name = string(item, "name", at)
    if not name:
        raise required(f"{at}.name")
    if len(name) > _LONGEST_NAME:
        raise InvalidOption(f"{at}.name", f"may have {_LONGEST_NAME} characters at most")
    return name


def _parameters(item: Item, at: str) -> Item:
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidOption(f"{at}.parameters", "expected an object")
    return parameters


def read_choice(value: str | Item | None, tools: Tools) -> ToolChoice:
    """Return `tool_choice`. Raises `InvalidOption` if it names a tool the request does not have."""
    if value is None:
        return ToolChoice()
    if isinstance(value, str):
        if value not in ("none", "auto", "required"):
            raise InvalidOption("tool_choice", f"`{value}` is unknown; use none, auto or required")
        choice = ToolChoice(value)
    elif (kind := string(value, "type", "tool_choice")) == "function":
        choice = ToolChoice("required", (_known(value, _names_of(tools), "tool_choice"),))
    elif kind == "allowed_tools":
        mode = optional_string(value, "mode", "tool_choice") or "auto"
        if mode not in ("auto", "required"):
            raise InvalidOption("tool_choice.mode", f"`{mode}` is unknown; use auto or required")
        known, allowed = _names_of(tools), _objects(value.get("tools"), "tool_choice.tools")
        names = [_known(tool, known, f"tool_choice.tools[{i}]") for i, tool in enumerate(allowed)]
        choice = ToolChoice(mode, tuple(dict.fromkeys(names)))
    else:
        raise InvalidOption("tool_choice.type", f"`{kind}` is not supported; use function")
    if choice.mode == "required" and not tools.tools:
        raise call_without_tools()
    return choice


def _names_of(tools: Tools) -> frozenset[str]:
    return frozenset(tool.name for tool in tools.tools)


def _known(item: Item, known: frozenset[str], at: str) -> str:
    name = _name(item, at)
    if (namespace := optional_string(item, "namespace", at)) is not None:
        name = qualified_name(namespace, name)
    if name not in known:
        raise unknown_tool(f"{at}.name", name)
    return name
