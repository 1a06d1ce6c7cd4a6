"""Selection of the backend that runs a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mlxk_core._errors import ModelError, PluginConflict, UnsupportedModel
from mlxk_core._host import hints
from mlxk_core._host.plugin import Plugin
from mlxk_core._host.registry import Registry
from mlxk_core._host.specs import BackendSpec, Verdict
from mlxk_core._host.validation import checked

if TYPE_CHECKING:
    from mlxk_core._models.model import Model


class Judgement(NamedTuple):
    """The verdict of one backend on a model; `error` is set if the model's files could not be read."""

    plugin: Plugin
    spec: BackendSpec
    verdict: Verdict
    error: ModelError | None = None


def backend_for(registry: Registry, model: Model, name: str | None) -> BackendSpec:
    """Return the backend called `name`, else the only one that accepts `model`; see `Host.backend_for`."""
    if name is None:
        found = judgements(registry, model)
        return _only_accepting(model, found, hint=partial(_missing_backend, registry, model, bool(found)))
    named = registry.backends.get(name)
    if named is None:
        distribution = hints.known("backends").get(name)
        hint = f". {hints.comes_with(distribution, registry.records)}" if distribution else ""
        raise hints.unknown_option("--backend", name, (spec.name for spec in registry.backends.specs()), hint)
    return _named_backend(model, _judge(registry, *named, model))


def judgements(registry: Registry, model: Model) -> list[Judgement]:
    """Return the verdict of each backend on `model`."""
    return [_judge(registry, plugin, spec, model) for plugin, spec in registry.backends]


def verdict_on(spec: BackendSpec, model: Model) -> Verdict:
    """Return what one backend says about `model`. Raises `TypeError` if it is not a valid `Verdict`."""
    return checked(spec.accepts(model), Verdict)


def _judge(registry: Registry, plugin: Plugin, spec: BackendSpec, model: Model) -> Judgement:
    """Ask a backend whether it runs `model`. The answer is `no` if the model's files cannot be read."""
    errors: list[ModelError] = []

    def accepts() -> Verdict:
        try:
            return verdict_on(spec, model)
        except ModelError as error:
            errors.append(error)
            return Verdict.no(str(error))

    what = f"accepts of {spec.name}"
    verdict = registry.isolation.guard(plugin, what, accepts, default=None, source=spec.accepts)
    if verdict is None:
        verdict = Verdict.no(f"plugin {plugin.label} failed: {plugin.record.reason}")
    return Judgement(plugin, spec, verdict, errors[0] if errors else None)


def _only_accepting(model: Model, judgements: Sequence[Judgement], *, hint: Callable[[], str]) -> BackendSpec:
    """Return the only backend that accepts `model`. Raises `PluginConflict` if several do, `UnsupportedModel` with the
    reasons and the `hint` if none does."""
    accepting = [(each.plugin, each.spec) for each in judgements if each.verdict.accepted]
    if len(accepting) == 1:
        return accepting[0][1]
    if accepting:
        raise PluginConflict(
            f"Several backends accept `{model.name}`: {hints.with_owners(accepting)}. "
            f"Choose one with {hints.options('--backend', (spec.name for _, spec in accepting))}.",
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


def _named_backend(model: Model, judgement: Judgement) -> BackendSpec:
    """Return the backend that the user has named, if it accepts `model`."""
    if judgement.verdict.accepted:
        return judgement.spec
    if judgement.error:
        raise judgement.error
    name, reason = judgement.spec.name, judgement.verdict.reason
    raise UnsupportedModel(
        f"The backend {name} cannot run `{model.name}`: {reason}", model=model.name, reasons={name: reason}
    )


def _missing_backend(registry: Registry, model: Model, any_installed: bool) -> str:
    """Return which distribution has the backend for such files; empty if it is installed."""
    gguf = model.gguf_path is not None or (bool(model.variants) and not model.has_other_weights)
    files = hints.known("files")["gguf" if gguf else "safetensors"]
    name, backends = files["backend"], registry.backends
    if backends.contested and not any_installed:
        return " ".join(map(str, backends.contested.values()))
    if name in backends.contested or backends.get(name):
        return ""
    distribution = hints.known("backends")[name]
    return f"{files['what']} run with {distribution}{hints.state_of(distribution, registry.records)}"
