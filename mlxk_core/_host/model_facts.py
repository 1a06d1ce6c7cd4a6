"""What all plugins together say about one model: its stop rules, and how its weights are stored."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mlxk_core._host.registry import Registry
from mlxk_core._host.specs import Quantization, QuantizationDetectorSpec, StopPolicy
from mlxk_core._host.validation import checked
from mlxk_core._text.shorten import shorten

if TYPE_CHECKING:
    from mlxk_core._models.model import Model

_LONGEST_LABEL = 200  # characters


def stop_policy(registry: Registry, model: Model) -> StopPolicy:
    """Return all policies in one; only the order of stop strings depends on the order of policies."""
    policies = [policy for _, policy in registry.collect("mlxk_stop_policies", StopPolicy, model=model)]
    return StopPolicy(
        stop_tokens=frozenset[str]().union(*(policy.stop_tokens for policy in policies)),
        keep_tokens=frozenset[str]().union(*(policy.keep_tokens for policy in policies)),
        stop_strings=tuple(dict.fromkeys(text for policy in policies for text in policy.stop_strings)),
    )


def quantizations(registry: Registry, model: Model) -> list[Quantization]:
    """Return the results of all detectors, sorted by format. Where two describe one format, a note names the reader."""
    found: list[tuple[str, Quantization]] = []
    for plugin, spec in registry.quantization_detectors:
        detect, what = partial(detect_with, spec, model), f"detect of {spec.name}"
        results: list[Quantization] = registry.ask(plugin, what, detect, default=[], source=spec.detect)
        found += [(f"{spec.name} of plugin {plugin.label}", result) for result in results]
    formats = [result.format for _, result in found]
    named = [
        replace(result, notes=(*result.notes, f"read by {reader}")) if formats.count(result.format) > 1 else result
        for reader, result in found
    ]
    return sorted(named, key=lambda result: result.format)


def detect_with(spec: QuantizationDetectorSpec, model: Model) -> list[Quantization]:
    """Return the results of one detector. Raises `TypeError` if one is of another type."""
    found = (checked(each, Quantization) for each in spec.detect(model) or ())
    # A label repeats what a config says, and servers send it with every list of models.
    return [replace(each, label=shorten(each.label, _LONGEST_LABEL)) for each in found]
