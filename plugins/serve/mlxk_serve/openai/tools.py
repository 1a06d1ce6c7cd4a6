"""The tools of a request, and which of them the model must or may call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxk_core.api import Tool
from mlxk_core.api.errors import InvalidOption
from mlxk_protocol.decode import required
from mlxk_protocol.errors import Unsupported, call_without_tools, unknown_tool, unsupported_tool
from mlxk_serve.openai.requests import ChatRequest, Function, ToolIn


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools must be called, and which may be: none of the `names` means all."""

    none: bool = False
    required: bool = False
    one: bool = False
    names: tuple[str, ...] = ()


def tools_of(tools: Sequence[ToolIn]) -> tuple[Tool, ...]:
    """Return the tools that a model may call. Raises `InvalidOption` for one that is not a function."""
    return tuple(_tool(_function(tool, f"tools[{i}]"), f"tools[{i}]") for i, tool in enumerate(tools))


def tool_choice_of(request: ChatRequest) -> ToolChoice:
    """Return what `tool_choice` asks for. Raises `InvalidOption` that names the part at fault."""
    choice = request.tool_choice
    if choice is None or choice == "auto":
        return ToolChoice()
    if choice == "none":
        return ToolChoice(none=True)
    if isinstance(choice, str):
        if choice not in ("required", "any"):
            raise InvalidOption("tool_choice", 'must be "none", "auto", "required" or an object')
        made = ToolChoice(required=True)
    elif choice.get("type") == "allowed_tools":
        made = _allowed_tools(choice.get("allowed_tools", choice), request.tools or ())
    elif choice.get("type", "function") == "function":
        name = _name(choice, "tool_choice")
        if name not in _names_of(request.tools or ()):
            raise unknown_tool("tool_choice.function.name", name)
        made = ToolChoice(required=True, one=True, names=(name,))
    else:
        raise Unsupported("tool_choice.type", "must be function or allowed_tools")
    if made.required and not request.tools:
        raise call_without_tools()
    return made


def _function(tool: ToolIn, at: str) -> Function:
    if tool.type not in (None, "function"):
        raise unsupported_tool(at, tool.type)
    if tool.function is None:
        raise required(f"{at}.function")
    return tool.function


def _tool(function: Function, at: str) -> Tool:
    parameters = function.parameters or {}
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=parameters,
        strict=bool(function.strict),
        option=f"{at}.function.parameters",
    )


def _allowed_tools(allowed: Any, tools: Sequence[ToolIn]) -> ToolChoice:
    at = "tool_choice.allowed_tools"
    if not isinstance(allowed, Mapping) or not isinstance(allowed.get("tools"), list) or not allowed["tools"]:
        raise InvalidOption(f"{at}.tools", "must be a list of tools")
    if allowed.get("mode", "auto") not in ("auto", "required"):
        raise InvalidOption(f"{at}.mode", 'must be "auto" or "required"')
    known = _names_of(tools)
    names: dict[str, None] = {}
    for i, tool in enumerate(allowed["tools"]):
        name = _name(tool, f"{at}.tools[{i}]")
        if name not in known:
            raise unknown_tool(f"{at}.tools[{i}]", name)
        names[name] = None
    return ToolChoice(required=allowed.get("mode") == "required", names=tuple(names))


def _name(choice: Any, at: str) -> str:
    function = choice.get("function", choice) if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise required(f"{at}.function.name")
    return name


def _names_of(tools: Sequence[ToolIn]) -> frozenset[str]:
    return frozenset(tool.function.name for tool in tools if tool.function)
