"""A Messages request as a generation request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlxk_core.api import Model, Tool
from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.generation import Constraint, GenerationRequest, TokenPolicy, effort_options, thinking_options
from mlxk_messages.conversation import to_messages
from mlxk_messages.requests import CountRequest, MessageRequest, ToolIn
from mlxk_protocol.errors import Unsupported, call_without_tools, unknown_tool, unsupported_tool
from mlxk_protocol.sampling import request_sampling


def counted(request: CountRequest, model: Model) -> GenerationRequest:
    """Return a request whose prompt is that of `request`. Raises `InvalidOption` for what is not supported."""
    if request.mcp_servers:
        raise Unsupported("mcp_servers", "not supported; connect them in the client")
    if request.container is not None:
        raise Unsupported("container", "not supported")
    tools = _tools(request.tools or ())
    choice = request.tool_choice
    if choice is not None and choice.type in ("any", "tool") and not tools:
        raise call_without_tools()
    if choice is not None and choice.type == "tool" and choice.name not in {tool.name for tool in tools}:
        raise unknown_tool("tool_choice.name", choice.name or "")
    return GenerationRequest(
        model=model,
        prompt=to_messages(request),
        token_policy=TokenPolicy.HALF_CONTEXT,
        tools=() if choice is not None and choice.type == "none" else tools,
        must_call=choice is not None and choice.type in ("any", "tool"),
        tool_names=(choice.name,) if choice is not None and choice.type == "tool" and choice.name else (),
        parallel_calls=not (choice and choice.disable_parallel_tool_use),
        constraint=_constraint(request),
        thinking_budget=request.thinking.budget_tokens if request.thinking else None,
        template_options=_template_options(request, model),
        keep_to_template=True,
    )


def generated(request: MessageRequest, model: Model) -> GenerationRequest:
    """Return the generation that answers `request`. Raises `InvalidOption` for what is not supported."""
    last = len(request.messages) - 1
    if request.messages[last].role == "assistant":
        raise Unsupported(
            f"messages[{last}].role", "continuing a turn of the assistant is not supported; end with a turn of the user"
        )
    return replace(
        counted(request, model),
        sampling=request_sampling(model, temperature=request.temperature, top_p=request.top_p, top_k=request.top_k),
        max_tokens=request.max_tokens,
        stop=tuple(text for text in request.stop_sequences or () if text),
    )


def shows_thinking(request: CountRequest) -> bool:
    """Return whether thinking blocks are part of the response: only where the request asks for thinking."""
    thinking = request.thinking
    return thinking is not None and thinking.type != "disabled" and thinking.display != "omitted"


def _tools(tools: Sequence[ToolIn]) -> tuple[Tool, ...]:
    for index, tool in enumerate(tools):
        if tool.type not in (None, "custom"):
            raise unsupported_tool(f"tools[{index}]", tool.type)
    return tuple(
        Tool(
            name=tool.name,
            description=tool.description or "",
            parameters=tool.input_schema or {},
            strict=bool(tool.strict),
            option=f"tools[{index}].input_schema",
        )
        for index, tool in enumerate(tools)
    )


def _constraint(request: CountRequest) -> Constraint | None:
    config = request.output_config.format if request.output_config else None
    format = config or request.output_format
    if format is None:
        return None
    field = "output_config.format.schema" if config else "output_format.schema"
    if format.schema is None:
        raise InvalidOption(field, "required")
    return Constraint(kind="json_schema", value=format.schema, option=field)


def _template_options(request: CountRequest, model: Model) -> dict[str, object]:
    options = effort_options(model, request.output_config.effort if request.output_config else None)
    settings = model.settings
    if request.thinking is None and (settings.thinking is not None or settings.reasoning_effort is not None):
        return options  # what the user's settings say, as in every other API
    if request.thinking is None or request.thinking.type == "disabled":
        return {**options, **thinking_options(False)}
    return {**options, **thinking_options(True)} if request.thinking.type == "enabled" else options
