"""Selection of the format in which a model writes reasoning and tool calls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from mlxk_core._errors import PluginConflict
from mlxk_core._host import hints
from mlxk_core._host.plugin import Plugin
from mlxk_core._host.registry import Registry
from mlxk_core._host.specs import NO_FORMAT, Evidence, ReasoningExtractorSpec
from mlxk_core._host.validation import checked

if TYPE_CHECKING:
    from mlxk_core._models.model import Model

_Candidate = tuple[Plugin, ReasoningExtractorSpec, Evidence]


def reasoning_formats(registry: Registry) -> list[ReasoningExtractorSpec]:
    """Return the formats of whole responses, sorted by name."""
    return [spec for spec in registry.reasoning_extractors.specs() if spec.tool_calls != "around"]


def reasoning_format_names(registry: Registry) -> list[str]:
    """Return the names that can be chosen; see `Host.reasoning_format_names`."""
    return [*(spec.name for spec in reasoning_formats(registry)), NO_FORMAT]


def reasoning_format(
    registry: Registry, model: Model, name: str | None
) -> tuple[ReasoningExtractorSpec, Evidence | None] | None:
    """Return the format of that name, else the one with the strongest evidence; see `Host.reasoning_format`."""
    if name == NO_FORMAT:
        return None
    if name is None:
        return _strongest(model, _evidences(registry, model, around=False))
    found = registry.reasoning_extractors.get(name)
    if found is None or found[1].tool_calls == "around":
        raise hints.unknown_option("--reasoning-format", name, reasoning_format_names(registry))
    return found[1], None


def tool_format(registry: Registry, model: Model) -> ReasoningExtractorSpec | None:
    """Return the format with the strongest evidence among those that find tool calls around another one."""
    best = _strongest(model, _evidences(registry, model, around=True))
    return best[0] if best else None


def _evidences(registry: Registry, model: Model, *, around: bool) -> list[_Candidate]:
    found = []
    for plugin, spec in registry.reasoning_extractors:
        if (spec.tool_calls == "around") is around:
            matches, what = partial(evidence_for, spec, model), f"matches of {spec.name}"
            evidence = registry.ask(plugin, what, matches, default=None, source=spec.matches)
            if evidence is not None:
                found.append((plugin, spec, evidence))
    return found


def _strongest(model: Model, found: Sequence[_Candidate]) -> tuple[ReasoningExtractorSpec, Evidence] | None:
    """Raises `PluginConflict` on a tie."""
    if not found:
        return None
    strength = max(evidence.strength for _, _, evidence in found)
    best = [entry for entry in found if entry[2].strength == strength]
    if len(best) > 1:
        raise PluginConflict(
            f"Several reasoning formats fit `{model.name}`: {hints.with_owners((p, s) for p, s, _ in best)}. "
            f"Choose one with {hints.options('--reasoning-format', [*(spec.name for _, spec, _ in best), NO_FORMAT])}.",
            model=model.name,
            formats=[spec.name for _, spec, _ in best],
        )
    _, spec, evidence = best[0]
    return spec, evidence


def evidence_for(spec: ReasoningExtractorSpec, model: Model) -> Evidence | None:
    """Return the evidence of one format for `model`. Raises `TypeError` if it is of another type."""
    evidence = spec.matches(model)
    return None if evidence is None else checked(evidence, Evidence)
