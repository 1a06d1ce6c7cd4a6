"""How tokens are drawn when nobody says: an option first, then the model's own values, then ours."""

from __future__ import annotations

from typing import Any

from mlxk_core.api.generation import Sampling, model_sampling
from mlxk_core.api.models import Model

DEFAULTS = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1}


def sampling_for(model: Model, **options: Any) -> Sampling:
    """The sampling for `model`; `options` are `Sampling` fields, None where the user said nothing."""
    given = {name: value for name, value in options.items() if value is not None}
    return Sampling(**{**DEFAULTS, **model_sampling(model), **given})
