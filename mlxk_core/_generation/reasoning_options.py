"""Reasoning effort and switches as options of chat templates, in the dialects that templates use."""

from __future__ import annotations

from typing import Any

from mlxk_core._models.model import Model

_NO_EFFORT = ("none", "no_think")


def effort_options(model: Model, effort: str | None) -> dict[str, Any]:
    """Return the template options for an effort; `none` turns reasoning off, None keeps the default."""
    if effort is None:
        return {}
    if effort != "none":
        return {"reasoning_effort": effort}
    template = model.chat_template or ""
    # Hunyuan's templates raise for any word but their own.
    word = next((word for word in _NO_EFFORT if f"'{word}'" in template or f'"{word}"' in template), _NO_EFFORT[0])
    return {"reasoning_effort": word, **thinking_options(False)}


def thinking_options(thinking: bool) -> dict[str, Any]:
    """Return the template options that turn reasoning on or off: templates use one of these switches."""
    return {"enable_thinking": thinking, "thinking": thinking}
