"""Sampling values of an answer: an option first, then the settings, then the model's own values, then the defaults."""

from __future__ import annotations

from collections.abc import Collection

from mlxk_core.api.generation import TERMINAL_SAMPLING, Sampling, model_sampling
from mlxk_core.api.models import Model
from mlxk_run.options import SamplingOptions


def sampling_for(model: Model, options: SamplingOptions, applied: Collection[str]) -> Sampling:
    """Return the sampling values for `model`; of the defaults only those in `applied`, which its backend knows."""
    defaults = {name: value for name, value in TERMINAL_SAMPLING.items() if name in applied}
    return Sampling(**{**defaults, **model_sampling(model), **options.given()})
