"""Conversations as a model's chat template writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlxk_core.errors import TemplateError
from mlxk_core.generation.messages import Message, Tool, ToolCall

Apply = Callable[..., Any]


class ChatTemplate:
    """Renders with `apply`, which has the signature of transformers' `apply_chat_template`; `text` is the Jinja
    source (None: the model has no template, unless `apply` is code of mlx-lm's own)."""

    def __init__(self, apply: Apply, text: str | None, *, is_code: bool = False) -> None:
        self._apply = apply
        self._text = text
        self._is_code = is_code

    @classmethod
    def of(cls, hf: Any, text: str | None) -> ChatTemplate:
        """The template `text`, rendered by the transformers tokenizer `hf` (which knows its own special tokens)."""
        return cls(hf.apply_chat_template, text)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Raises `TemplateError`: the template is missing, or refuses the conversation."""
        if self._text is None and not self._is_code:
            raise TemplateError("The model has no chat template.")
        values: dict[str, Any] = {**(options or {}), "add_generation_prompt": generation_prompt, "tokenize": False}
        if not self._is_code:
            values["chat_template"] = self._text
        if tools:
            values["tools"] = [_tool(tool) for tool in tools]
        try:
            rendered = self._apply([self._message(message) for message in messages], **values)
        except Exception as error:  # a template is a program of the model's author: it may raise anything
            raise TemplateError(f"The model's chat template refuses the conversation: {error}") from error
        return str(rendered)

    def _message(self, message: Message) -> dict[str, Any]:
        entry: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.reasoning is not None:
            # gpt-oss' template knows `thinking` and refuses it beside content; all others know `reasoning_content`.
            thinking = self._text and "thinking" in self._text and "reasoning_content" not in self._text
            entry["thinking" if thinking and not message.content else "reasoning_content"] = message.reasoning
        if message.name is not None:
            entry["name"] = message.name
        if message.tool_call_id is not None:
            entry["tool_call_id"] = message.tool_call_id
        if message.tool_calls:
            entry["tool_calls"] = [_call(call) for call in message.tool_calls]
        return entry


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _call(call: ToolCall) -> dict[str, Any]:
    """Templates expect the arguments as an object, and write text that is none as it is."""
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = call.arguments
    if not isinstance(arguments, dict):
        arguments = call.arguments
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
