"""Choice among the GGUF variants of a model: the one that is named, or the only one that can run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mlxk_core._errors import AmbiguousModel, BrokenModel, ModelNotFound, UnsupportedModel
from mlxk_core._host.specs import BackendSpec, Verdict
from mlxk_core._models.model import Model
from mlxk_core._models.variants import Variant

Verdicts = Callable[[Model], Sequence[tuple[BackendSpec, Verdict]]]
"""The verdict of each backend on a model: `Host.verdicts`."""


def with_variant(model: Model, name: str) -> Model:
    """Return `model` with the variant called `name`. Raises `ModelNotFound`, which lists those that are there."""
    for variant in model.variants:
        if variant.name.casefold() == name.casefold():
            return replace(model, variant=variant.name)
    reference = f"{model.name}:{name}"
    if not model.variants:
        raise ModelNotFound(reference, hint=f"`{model.name}` has no GGUF variants.")
    local = ", ".join(_spell(model, variant) for variant in model.variants)
    hint = f"Local variants: {local}.{_pull_hint(reference, model)}"
    raise ModelNotFound(reference, hint=hint, pullable=model.origin == "hub")


def variant_to_run(model: Model, verdicts: Verdicts) -> Model:
    """Return `model` with the variant that runs; unchanged if it has none. Raises as `Resolver.resolve` does."""
    if not model.variants or _is_variant_file(model):
        return model
    if model.gguf_variant is None:
        if model.has_other_weights and _is_accepted(model, verdicts):
            return model
        model = replace(model, variant=_only_runnable(model, verdicts).name)
    chosen = model.gguf_variant
    if chosen and not chosen.complete:
        raise BrokenModel(
            f"`{_spell(model, chosen)}` is incomplete: it has {len(chosen.files)} of {chosen.shards} files."
            f"{_pull_hint(f'{model.name}:{chosen.name}', model)}",
            model=model.name,
            variant=chosen.name,
        )
    return model


def _only_runnable(model: Model, verdicts: Verdicts) -> Variant:
    variants = [each for each in model.variants if each.complete] or list(model.variants)
    if len(variants) == 1:
        return variants[0]
    reasons = {}
    accepted = []
    for variant in variants:
        judged = [verdict for _, verdict in verdicts(replace(model, variant=variant.name))]
        if any(verdict.accepted for verdict in judged):
            accepted.append(variant)
        reasons[variant.name] = "; ".join(verdict.reason for verdict in judged if verdict.answer == "no")
    if len(accepted) == 1:
        return accepted[0]
    if accepted:
        raise AmbiguousModel(model.name, [_spell(model, each) for each in accepted], what="variants")
    if not any(reasons.values()):
        return variants[0]  # no backend is for GGUF files; the host's error says which one would be
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
    raise UnsupportedModel(f"No variant of `{model.name}` can run here. {listed}", model=model.name, reasons=reasons)


def _is_accepted(model: Model, verdicts: Verdicts) -> bool:
    return any(verdict.accepted for _, verdict in verdicts(model))


def _spell(model: Model, variant: Variant) -> str:
    """Return the reference of a variant."""
    if model.origin == "path":
        folder = model.path if model.path.is_dir() else model.path.parent
        return str(folder / variant.files[0])
    return f"{model.name}:{variant.name}"


def _is_variant_file(model: Model) -> bool:
    """Return whether the model is a single `.gguf` file, not a shard."""
    return not model.path.is_dir() and len(model.variants) == 1 and model.variants[0].shards == 1


def _pull_hint(reference: str, model: Model) -> str:
    return f" Run `mlxk pull {reference}` to download it." if model.origin == "hub" else ""
