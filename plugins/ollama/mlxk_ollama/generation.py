"""Ollama's requests as generation requests."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from mlxk_core.api import Message, Model, Tool, ToolCall
from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.generation import Constraint, GenerationRequest, TokenPolicy, effort_options, thinking_options
from mlxk_ollama.requests import ChatRequest, Common, GenerateRequest, MessageIn, Options, ToolIn
from mlxk_protocol.decode import required
from mlxk_protocol.errors import Unsupported, unsupported_content, unsupported_tool
from mlxk_protocol.keep_alive import keep_alive_seconds
from mlxk_protocol.sampling import request_sampling


def chat_generation(request: ChatRequest, model: Model, default_max_tokens: int | None) -> GenerationRequest:
    """Return the generation that answers a chat. Raises `InvalidOption` for what is not supported."""
    prompt = _conversation(request.messages or ())
    return _generation(request, model, prompt, default_max_tokens, tools=_tools(request.tools or ()))


def text_generation(request: GenerateRequest, model: Model, default_max_tokens: int | None) -> GenerationRequest:
    """Return the generation that continues or answers a prompt. Raises `InvalidOption` for what is not supported."""
    if request.images:
        raise unsupported_content("images", "image")
    if request.template:
        raise Unsupported("template", "not supported; use raw with a prompt that is written out")
    if request.context:
        raise Unsupported("context", "not supported; use /api/chat with the conversation")
    prompt: Sequence[Message] | str
    if request.suffix and request.system:
        raise InvalidOption("system", "cannot be used with suffix")
    if request.raw or request.suffix:  # the model fills in between two texts: no template
        prompt = request.prompt or ""
    else:
        system = [Message(role="system", content=request.system)] if request.system else []
        prompt = [*system, Message(role="user", content=request.prompt or "")]
    return replace(_generation(request, model, prompt, default_max_tokens), suffix=request.suffix or None)


def _generation(
    request: Common,
    model: Model,
    prompt: Sequence[Message] | str,
    default_max_tokens: int | None,
    tools: tuple[Tool, ...] = (),
) -> GenerationRequest:
    if request.top_logprobs and not request.logprobs:
        raise InvalidOption("top_logprobs", "needs `logprobs: true`")
    options = request.options or Options()
    limit, stop = options.num_predict or 0, options.stop or ()
    return GenerationRequest(
        model=model,
        prompt=prompt,
        sampling=request_sampling(
            model,
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            min_p=options.min_p,
            repetition_penalty=1 if options.repeat_last_n == 0 else options.repeat_penalty,
            presence_penalty=options.presence_penalty,
            frequency_penalty=options.frequency_penalty,
            seed=options.seed,
            logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        ),
        max_tokens=limit if limit > 0 else None if limit < 0 else default_max_tokens,
        token_policy=TokenPolicy.NO_LIMIT if limit < 0 else TokenPolicy.HALF_CONTEXT,
        stop=tuple(text for text in ((stop,) if isinstance(stop, str) else stop) if text),
        tools=tools,
        constraint=_constraint(request.format),
        template_options=_template_options(request, model),
        keep_to_template=True,
        ttl=keep_alive_seconds(request.keep_alive),
    )


def _constraint(format: Any) -> Constraint | None:
    if format is None or format == "":
        return None
    if format == "json":
        return Constraint(kind="json_object", value=True, option="format")
    if isinstance(format, dict):
        return Constraint(kind="json_schema", value=format, option="format")
    raise InvalidOption("format", "expected `json` or a JSON schema")


def _template_options(request: Common, model: Model) -> dict[str, Any]:
    match request.think:
        case None:
            return {}
        case bool(thinking):
            return thinking_options(thinking)
        case effort:
            return {**thinking_options(True), **effort_options(model, effort)}


def _tools(tools: Sequence[ToolIn]) -> tuple[Tool, ...]:
    return tuple(_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools))


def _tool(tool: ToolIn, at: str) -> Tool:
    if tool.type != "function":
        raise unsupported_tool(at, tool.type)
    if tool.function is None:
        raise required(f"{at}.function")
    return Tool(
        name=tool.function.name,
        description=tool.function.description or "",
        parameters=tool.function.parameters or {},
        option=f"{at}.function.parameters",
    )


def _conversation(messages: Sequence[MessageIn]) -> list[Message]:
    found: list[Message] = []
    waiting: OrderedDict[str, None] = OrderedDict()  # ids of calls without a result yet
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        if message.images:
            raise unsupported_content(f"{at}.images", "image")
        calls = []
        for number, call in enumerate(message.tool_calls or ()):
            id = call.id or f"call_{index}_{number}"
            arguments = msgspec.json.encode(call.function.arguments or {}).decode()
            calls.append(ToolCall(id=id, name=call.function.name, arguments=arguments))
            waiting[id] = None
        result_of = None
        if message.role == "tool":
            result_of = message.tool_call_id or next(iter(waiting), f"call_{index}")
            waiting.pop(result_of, None)
        found.append(
            Message(
                role=message.role,
                content=message.content or "",
                reasoning=message.thinking or None,
                name=message.tool_name or message.name,
                tool_calls=tuple(calls),
                tool_call_id=result_of,
            )
        )
    return found
