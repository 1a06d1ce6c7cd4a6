"""The tools of a request."""

from __future__ import annotations

from collections.abc import Sequence

from mlxk_core.api import Tool
from mlxk_serve.openai.requests import Function, ToolIn


def tools_of(tools: Sequence[ToolIn]) -> tuple[Tool, ...]:
    """What the model may call."""
    return tuple(_tool(tool.function) for tool in tools)


def _tool(function: Function) -> Tool:
    parameters = function.parameters or {}
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=parameters,
        strict=bool(function.strict),
    )
