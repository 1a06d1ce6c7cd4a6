"""How to run a request: decided from the plugins and the model's files before the request is queued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlxk_core._errors import UnsupportedModel
from mlxk_core._generation.constraint_plan import ConstraintPlan, plan_constraint
from mlxk_core._generation.model_formats import Format, Formats
from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.request_settings import set_by
from mlxk_core._generation.stop_tokens import CHAT_STOP_STRINGS
from mlxk_core._host.host import Host
from mlxk_core._host.specs import NO_FORMAT, BackendSpec, StopPolicy
from mlxk_core._isolation.isolated_format import load_format
from mlxk_core._models.classify import Facts
from mlxk_core._models.model import Model
from mlxk_core._models.token_budget import model_context_length
from mlxk_core._text.stop_strings import StopStrings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to run one request. `window` is the context length in tokens."""

    window: int | None
    formats: Formats
    stop_policy: StopPolicy
    stop_strings: StopStrings
    constraint: ConstraintPlan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModelTraits:
    """What the plans of all requests to one model have in common."""

    window: int | None
    format: Format | None
    stop_policy: StopPolicy
    no_text: str | None
    """Why the model does not generate text, and how to use it instead."""


class Planner:
    """Makes plans. What they take from a model's files is kept while `is_loaded` says that the model is loaded."""

    def __init__(self, host: Host, is_loaded: Callable[[Model], bool]) -> None:
        self._host = host
        self._is_loaded = is_loaded
        self._traits: dict[tuple[Model, str | None], _ModelTraits] = {}

    def plan(self, request: GenerationRequest, backend: BackendSpec) -> Plan:
        """Return the plan for `request`. Raises `UnsupportedModel`, `InvalidOption` or `PluginConflict`."""
        traits = self._traits_for(request)
        if traits.no_text:
            raise UnsupportedModel(f"`{request.model.name}` {traits.no_text}", model=request.model.name)
        formats = self._formats(request, traits)
        return Plan(
            window=traits.window,
            formats=formats,
            stop_policy=traits.stop_policy,
            stop_strings=_stop_strings(request, traits.stop_policy),
            constraint=plan_constraint(self._host, request, backend, formats),
        )

    def formats(self, request: GenerationRequest) -> Formats:
        """Return how the model's text is read for `request`, also if it generates none. Raises `InvalidOption`."""
        return self._formats(request, self._traits_for(request))

    def _formats(self, request: GenerationRequest, traits: _ModelTraits) -> Formats:
        return Formats(text=traits.format, tools=self._tool_format(request, traits.format))

    def _traits_for(self, request: GenerationRequest) -> _ModelTraits:
        with set_by("reasoning_format", setting=request.reasoning_format is None):
            return self._traits_of(request.model, _format_name(request))

    def _traits_of(self, model: Model, format_name: str | None) -> _ModelTraits:
        traits = self._traits.get((model, format_name))
        if traits is not None and self._is_loaded(model):
            return traits
        chosen = self._host.reasoning_format(model, format_name)
        traits = _ModelTraits(
            no_text=_why_no_text(model),
            window=model_context_length(model),
            format=load_format(self._host, chosen[0]) if chosen else None,
            stop_policy=self._host.stop_policies(model),
        )
        for known in list(self._traits):  # the files of other models may change before their next load
            if known[0] != model and not self._is_loaded(known[0]):
                self._traits.pop(known, None)
        self._traits[model, format_name] = traits
        return traits

    def _tool_format(self, request: GenerationRequest, text_format: Format | None) -> Format | None:
        if not request.tools or (text_format is not None and text_format.parses_tool_calls):
            return None
        spec = self._host.tool_format(request.model)
        return load_format(self._host, spec) if spec else None


def _format_name(request: GenerationRequest) -> str | None:
    """Return the name of the format to use, None to choose one. The response to a raw prompt is raw text."""
    default = request.model.settings.reasoning_format if request.is_chat else NO_FORMAT
    return request.reasoning_format or default


def _stop_strings(request: GenerationRequest, policy: StopPolicy) -> StopStrings:
    strings = list(request.stop)
    if request.is_chat and request.chat_stops and request.constraint is None:
        strings += [*CHAT_STOP_STRINGS, *policy.stop_strings]
    return StopStrings(strings)


def _why_no_text(model: Model) -> str | None:
    """Return why `model` does not generate text and how to use it instead; None if it does."""
    facts = Facts(model)
    if "text-generation" in facts.capabilities:
        return None
    if "rerank" in facts.capabilities:
        return "is a reranker; it does not generate text. Use /v1/rerank."
    if facts.type == "embedding":
        return "is an embedding model; it does not generate text. Use `mlxk embed`."
    return "is a classifier; it does not generate text." if facts.type == "classifier" else None
