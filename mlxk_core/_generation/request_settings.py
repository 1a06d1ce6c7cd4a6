"""Values of the user's settings, for requests that do not set them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mlxk_core._errors import InvalidOption
from mlxk_core._generation.reasoning_options import effort_options, thinking_options
from mlxk_core._generation.request import GenerationRequest, Message
from mlxk_core._models.token_budget import TokenPolicy


def with_settings(requests: Sequence[GenerationRequest]) -> list[GenerationRequest]:
    """Return `requests` completed by the settings of their models. A prompt that several share stays shared.

    Other settings are applied where their value is read: sampling (`model_sampling`), the context length
    (`model_context_length`), the chat template (`Model.chat_templates`), backend, reasoning format and time to live.
    """
    filled: dict[tuple[int, int, int], GenerationRequest] = {}
    found = []
    for request in requests:
        same = (id(request.model), id(request.prompt), id(request.template_options))
        first = filled.get(same)
        changed = _fill_in(request)
        if first is not None and first.prompt == changed.prompt and first.template_options == changed.template_options:
            changed = replace(changed, prompt=first.prompt, template_options=first.template_options)
        filled.setdefault(same, changed)
        found.append(changed)
    return found


def _fill_in(request: GenerationRequest) -> GenerationRequest:
    settings = request.model.settings
    changes: dict[str, Any] = {}
    unlimited = request.token_policy is TokenPolicy.NO_LIMIT
    if request.max_tokens is None and settings.max_tokens is not None and not unlimited:
        changes["max_tokens"] = settings.max_tokens
    if request.thinking_budget is None and settings.thinking_budget is not None:
        changes |= {"thinking_budget": settings.thinking_budget, "budget_is_default": True}
    prompt = request.prompt
    messages = [each for each in prompt if isinstance(each, Message)] if not isinstance(prompt, str) else []
    if messages:
        if settings.stop is not None and not request.stop:
            changes["stop"] = settings.stop
        if options := _reasoning_options(request):
            changes["template_options"] = {**options, **request.template_options}
        if settings.system and messages[0].role != "system":
            changes["prompt"] = [Message(role="system", content=settings.system), *messages]
    return replace(request, **changes) if changes else request


def _reasoning_options(request: GenerationRequest) -> dict[str, Any]:
    """Return the template options of the settings; none if the request itself sets one for reasoning."""
    settings = request.model.settings
    options = effort_options(request.model, settings.reasoning_effort)
    if settings.thinking is not None:
        options |= thinking_options(settings.thinking)
    decided = {"reasoning_effort", *thinking_options(True)} & request.template_options.keys()
    return {} if decided else options


@contextmanager
def set_by(key: str, *, setting: bool) -> Iterator[None]:
    """Name the setting `key` in an `InvalidOption` raised inside, if the value comes from the settings file."""
    try:
        yield
    except InvalidOption as error:
        if not setting:
            raise
        raise InvalidOption(f"`{key}` in the settings file", error.problem) from error
