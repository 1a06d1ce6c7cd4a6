"""How much a request lets the model reason, under the names of several servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxk_core.api import Model
from mlxk_core.api.generation import effort_options
from mlxk_core.api.server import ApiError
from mlxk_serve.http.errors import invalid
from mlxk_serve.openai.requests import ChatRequest, CommonRequest


def check_reasoning(request: ChatRequest) -> None:
    """Raise the error of a request that says under two names different things about reasoning.

    An effort is allowed with a switch that is off, as in vLLM: the template decides by the switch.
    """
    efforts, switches = _efforts(request), _switches(request)
    _one(efforts, "efforts")
    _one(switches, "things")
    for name, thinks in switches.items():
        for other, effort in efforts.items():
            if thinks and effort == "none":
                raise invalid(f"`{name}` and `{other}` contradict each other. Omit one.", other)


def check_template_kwargs(request: ChatRequest, model: Model) -> None:
    """Raise if `chat_template_kwargs` contradicts another field about reasoning."""
    given = request.chat_template_kwargs or {}
    efforts, switches = _efforts(request), _switches(request)
    for option in ("enable_thinking", "thinking"):
        if not isinstance(given.get(option), bool):
            continue
        for name, thinks in switches.items():
            if thinks is not given[option]:
                raise _contradiction(name, option)
        for name, effort in efforts.items():
            if effort == "none" and given[option]:
                raise _contradiction(name, option)
    own = given.get("reasoning_effort")
    if not isinstance(own, str):
        return
    off = effort_options(model, "none")["reasoning_effort"]  # the template's own word
    for name, effort in efforts.items():
        if own != (off if effort == "none" else effort):
            raise _contradiction(name, "reasoning_effort")
    for name, thinks in switches.items():
        if thinks and own == off:
            raise _contradiction(name, "reasoning_effort")


def _contradiction(name: str, option: str) -> ApiError:
    field = f"chat_template_kwargs.{option}"
    return invalid(f"`{name}` and `{field}` contradict each other. Omit one.", field)


def reasoning_effort(request: ChatRequest) -> str | None:
    """Return how much the model should reason, under any of its names."""
    return next(iter(_efforts(request).values()), None)


def thinking_switch(request: ChatRequest) -> bool | None:
    """Return whether the model should think at all, under any of its names; None where none is given."""
    return next(iter(_switches(request).values()), None)


def reasoning_is_hidden(request: ChatRequest) -> bool:
    """Return whether `request` wants no reasoning in the response."""
    excluded = bool(request.reasoning and request.reasoning.exclude)
    return reasoning_effort(request) == "none" or thinking_switch(request) is False or excluded


def thinking_budget_of(request: CommonRequest) -> int | None:
    """Return the number of reasoning tokens that `request` allows; None means no limit of its own."""
    budgets = {
        "thinking_token_budget": request.thinking_token_budget,
        "thinking_budget": request.thinking_budget,
        "reasoning_budget": request.reasoning_budget,
        "reasoning.max_tokens": request.reasoning.max_tokens if request.reasoning else None,
    }
    given = {name: value for name, value in budgets.items() if value is not None and value != -1}
    _one(given, "budgets")
    return next(iter(given.values()), None)


def _one(given: Mapping[str, object], things: str) -> None:
    """Raise the error of fields whose values differ."""
    if len(set(given.values())) > 1:
        first, value = next(iter(given.items()))
        second = next(name for name, other in given.items() if other != value)
        raise invalid(f"`{first}` and `{second}` ask for different {things}. Omit one.", second)


def _efforts(request: ChatRequest) -> Mapping[str, str]:
    efforts = {
        "reasoning_effort": request.reasoning_effort,
        "reasoning.effort": request.reasoning.effort if request.reasoning else None,
        "think": request.think if isinstance(request.think, str) else None,
    }
    return {name: effort for name, effort in efforts.items() if effort is not None}


def _switches(request: ChatRequest) -> Mapping[str, bool]:
    switches = {
        "enable_thinking": request.enable_thinking,
        "think": request.think if isinstance(request.think, bool) else None,
        "thinking": _thinking(request.thinking),
    }
    return {name: thinks for name, thinks in switches.items() if thinks is not None}


def _thinking(thinking: Mapping[str, Any] | bool | None) -> bool | None:
    if thinking is None or isinstance(thinking, bool):
        return thinking
    kind = thinking.get("type")
    if kind not in ("enabled", "disabled", "adaptive", "auto"):
        raise invalid('`thinking.type` must be "enabled", "disabled" or "adaptive".', "thinking.type")
    return None if kind in ("adaptive", "auto") else kind == "enabled"
