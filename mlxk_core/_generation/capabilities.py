"""What a backend can do: requests for anything else are rejected before a model is loaded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from mlxk_core._errors import InvalidOption, UnsupportedModel
from mlxk_core._generation.request import GenerationRequest, Sampling
from mlxk_core._generation.sampling import model_sampling
from mlxk_core._host.specs import BackendSpec
from mlxk_core._models.model import Model

_NEUTRAL = Sampling()
_GREEDY = 0.0


def without_unsupported_defaults(request: GenerationRequest, backend: BackendSpec) -> GenerationRequest:
    """Return `request` without sampling values that only the model's files recommend and `backend` does not have.

    Raises `InvalidOption` for anything else that the backend does not claim. Constraints are planned, and checked, by
    `plan_constraint`.
    """
    if request.prompt_logprobs is not None and not backend.prompt_logprobs:
        raise InvalidOption("prompt_logprobs", f"the backend {backend.name} does not score the tokens of a prompt")
    if request.tools and not backend.tools:
        raise InvalidOption("tools", f"the backend {backend.name} does not support tools")
    if request.min_tokens and not backend.constraints:
        raise InvalidOption("min_tokens", f"the backend {backend.name} cannot exclude tokens")
    lacking = [name for name in vars(_NEUTRAL) if name not in backend.sampling]
    return replace(request, sampling=_without(request, backend, lacking)) if lacking else request


def _without(request: GenerationRequest, backend: BackendSpec, lacking: Collection[str]) -> Sampling:
    recommended = model_sampling(request.model)
    changes: dict[str, Any] = {}
    for name in lacking:
        value, neutral = getattr(request.sampling, name), getattr(_NEUTRAL, name)
        if value not in (neutral, recommended.get(name)) and not (name == "temperature" and value == _GREEDY):
            names = ", ".join(sorted(backend.sampling)) or "none"
            raise InvalidOption(name, f"the backend {backend.name} does not support it; supported: {names}")
        changes[name] = _GREEDY if name == "temperature" else neutral
    return replace(request.sampling, **changes)


def require_task(model: Model, backend: BackendSpec, task: str) -> None:
    """Raise `UnsupportedModel` if the engines of `backend` do not do the work named `task`."""
    if task not in backend.tasks:
        raise UnsupportedModel(
            f"`{model.name}` runs on the backend {backend.name}, which does not support {task}.",
            model=model.name,
            backend=backend.name,
            task=task,
        )
