"""Selection among contributions by name, verdict or evidence. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlxk_core._errors import ModelError, PluginConflict, UnsupportedModel
from mlxk_core._host.contributions import Named
from mlxk_core._host.plugin import Plugin
from mlxk_core._host.specs import BackendSpec, Evidence, Quantization, ReasoningExtractorSpec, StopPolicy, Verdict

if TYPE_CHECKING:
    from mlxk_core._models.model import Model


@dataclass(frozen=True)
class Judgement:
    """The verdict of one backend on a model; `error` is set if the model's files could not be read."""

    plugin: Plugin
    spec: BackendSpec
    verdict: Verdict
    error: ModelError | None = None


def only_accepting(model: Model, judgements: Sequence[Judgement], *, hint: Callable[[], str]) -> BackendSpec:
    """Return the only backend that accepts `model`. Raises `PluginConflict` if several do, `UnsupportedModel` with the
    reasons and the `hint` if none does."""
    accepting = [(each.plugin, each.spec) for each in judgements if each.verdict.accepted]
    if len(accepting) == 1:
        return accepting[0][1]
    if accepting:
        raise PluginConflict(
            f"Several backends accept `{model.name}`: {owned(accepting)}. "
            f"Choose one with {options('--backend', (spec.name for _, spec in accepting))}.",
            model=model.name,
            backends=[spec.name for _, spec in accepting],
        )
    for each in judgements:
        if each.error:
            raise each.error
    reasons = [f"{each.verdict.reason} ({each.spec.name})" for each in judgements]
    refusals = [f"{each.verdict.reason} ({each.spec.name})" for each in judgements if each.verdict.answer == "no"]
    text = "; ".join(refusals or reasons) or "no backend is installed"
    if not refusals and (advice := hint()):
        text = f"{text.rstrip('.')}. {advice}"
    raise UnsupportedModel(
        f"`{model.name}` cannot be run: {text}",
        model=model.name,
        reasons={each.spec.name: each.verdict.reason for each in judgements},
    )


def named_backend(model: Model, judgement: Judgement) -> BackendSpec:
    """Return the backend that the user has named, if it accepts `model`."""
    if judgement.verdict.accepted:
        return judgement.spec
    if judgement.error:
        raise judgement.error
    name, reason = judgement.spec.name, judgement.verdict.reason
    raise UnsupportedModel(
        f"The backend {name} cannot run `{model.name}`: {reason}", model=model.name, reasons={name: reason}
    )


def strongest(
    model: Model, found: Sequence[tuple[Plugin, ReasoningExtractorSpec, Evidence]]
) -> tuple[ReasoningExtractorSpec, Evidence] | None:
    """Return the format with the strongest evidence, or None without any. Raises `PluginConflict` on a tie."""
    if not found:
        return None
    strength = max(evidence.strength for _, _, evidence in found)
    best = [entry for entry in found if entry[2].strength == strength]
    if len(best) > 1:
        raise PluginConflict(
            f"Several reasoning formats fit `{model.name}`: {owned((p, s) for p, s, _ in best)}. "
            f"Choose one with {options('--reasoning-format', [*(spec.name for _, spec, _ in best), 'none'])}.",
            model=model.name,
            formats=[spec.name for _, spec, _ in best],
        )
    _, spec, evidence = best[0]
    return spec, evidence


def merged(policies: Sequence[StopPolicy]) -> StopPolicy:
    """Return all policies in one; only the order of stop strings depends on the order of policies."""
    return StopPolicy(
        stop_tokens=frozenset[str]().union(*(policy.stop_tokens for policy in policies)),
        keep_tokens=frozenset[str]().union(*(policy.keep_tokens for policy in policies)),
        stop_strings=tuple(dict.fromkeys(text for policy in policies for text in policy.stop_strings)),
    )


def annotated(found: Sequence[tuple[str, Quantization]]) -> list[Quantization]:
    """Return all facts sorted by format; where two readers describe one format, a note names the reader."""
    formats = [fact.format for _, fact in found]
    named = [
        replace(fact, notes=(*fact.notes, f"read by {reader}")) if formats.count(fact.format) > 1 else fact
        for reader, fact in found
    ]
    return sorted(named, key=lambda fact: fact.format)


def options(option: str, values: Iterable[str]) -> str:
    """Return `--backend one or --backend two`."""
    return " or ".join(f"{option} {value}" for value in values)


def owned(entries: Iterable[tuple[Plugin, Named]]) -> str:
    """Return `one (plugin a), two (plugin b)`."""
    return ", ".join(f"{spec.name} (plugin {plugin.label})" for plugin, spec in entries)
