"""Conversations as a model's chat template writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlxk_core.api.errors import NoTemplate, TemplateError
from mlxk_core.api.generation import Message, Tool
from mlxk_mlx.engine.message_format import Turns, describe

Apply = Callable[..., Any]


class ChatTemplate:
    """Renders with `apply`, which has the signature of transformers' `apply_chat_template`; `text` is the Jinja
    source (None: the model has no template, unless `apply` is code of mlx-lm's own)."""

    def __init__(self, apply: Apply, text: str | None, *, is_code: bool = False) -> None:
        self._apply = apply
        self._text = text
        self._is_code = is_code
        self._turns = Turns.of(text or "")

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
        """Raises `NoTemplate`, and `TemplateError` when the template refuses the conversation."""
        if self._text is None and not self._is_code:
            raise NoTemplate
        values: dict[str, Any] = {**(options or {}), "add_generation_prompt": generation_prompt, "tokenize": False}
        if not self._is_code:
            values["chat_template"] = self._text
        if tools:
            values["tools"] = [describe(tool) for tool in tools]
        refusal: Exception | None = None
        for turns in self._turns.alternatives(messages):
            try:
                return str(self._apply(turns.write(messages), **values))
            except Exception as error:  # a template is a program of the model's author: it may raise anything
                refusal = refusal or error
        told = str(refusal).rstrip(".")
        raise TemplateError(f"The model's chat template refuses the conversation: {told}.") from refusal
