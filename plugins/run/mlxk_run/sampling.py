"""Sampling values of an answer: an option first, then the settings, then the model's own values, then the defaults."""

from __future__ import annotations

from mlxk_core.api.generation import TERMINAL_SAMPLING, Sampling, model_sampling
from mlxk_core.api.models import Model
from mlxk_run.options import SamplingOptions


def sampling_for(model: Model, options: SamplingOptions) -> Sampling:
    """Return the sampling values for `model`."""
    return Sampling(**{**TERMINAL_SAMPLING, **model_sampling(model), **options.given()})
