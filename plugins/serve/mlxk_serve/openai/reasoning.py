"""How much a request lets the model reason, under the names of several servers."""

from __future__ import annotations

from mlxk_serve.http.errors import invalid
from mlxk_serve.openai.requests import ChatRequest, CommonRequest


def reasoning_effort(request: ChatRequest) -> str | None:
    """Return how much the model should reason, under any of its names."""
    effort = request.think if isinstance(request.think, str) else None
    return request.reasoning_effort or (request.reasoning.effort if request.reasoning else None) or effort


def thinking_switch(request: ChatRequest) -> bool | None:
    """Return whether the model should think at all, under any of its names; None where none is given."""
    if request.enable_thinking is not None:
        return request.enable_thinking
    if isinstance(request.think, bool):
        return request.think
    thinking = request.thinking
    if thinking is None or isinstance(thinking, bool):
        return thinking
    kind = thinking.get("type")
    if kind not in ("enabled", "disabled", "adaptive", "auto"):
        raise invalid('`thinking.type` must be "enabled", "disabled" or "adaptive".', "thinking.type")
    return None if kind in ("adaptive", "auto") else kind == "enabled"


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
    if len(set(given.values())) > 1:
        first, second, *_ = given
        raise invalid(f"`{first}` and `{second}` ask for different budgets.", second)
    return next(iter(given.values()), None)
