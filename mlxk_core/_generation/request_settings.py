"""What the user's settings add to a request that does not say it itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mlxk_core._generation.reasoning_options import thinking_options
from mlxk_core._generation.request import GenerationRequest, Message


def with_settings(request: GenerationRequest) -> GenerationRequest:
    """Return `request` completed by the settings of its model. Sampling values and the context length are part of the
    model itself (`model_sampling`, `model_context_length`)."""
    settings = request.model.settings
    changes: dict[str, Any] = {}
    if request.max_tokens is None and settings.max_tokens is not None:
        changes["max_tokens"] = settings.max_tokens
    if request.backend is None and settings.backend is not None:
        changes["backend"] = settings.backend
    prompt = request.prompt
    messages = [each for each in prompt if isinstance(each, Message)] if not isinstance(prompt, str) else []
    if messages:
        if request.reasoning_format is None and settings.reasoning_format is not None:
            changes["reasoning_format"] = settings.reasoning_format
        if settings.stop:
            changes["stop"] = (*request.stop, *(text for text in settings.stop if text not in request.stop))
        if settings.thinking is not None:
            switches = thinking_options(settings.thinking)
            if not request.template_options.keys() & switches.keys():
                changes["template_options"] = {**switches, **request.template_options}
        if settings.system and messages[0].role != "system":
            changes["prompt"] = [Message(role="system", content=settings.system), *messages]
    return replace(request, **changes) if changes else request
