"""Plugin of the model source `smollm2`."""

from __future__ import annotations

from collections.abc import Iterator

from mlxk_core.api import ModelSourceSpec, hookimpl


@hookimpl
def mlxk_model_sources() -> Iterator[ModelSourceSpec]:
    yield ModelSourceSpec(
        name="smollm2",
        summary="SmolLM2-135M-Instruct from a wheel: a small chat model that needs no download.",
        target="mlxk_smollm2.source:SmolLM2Source",
    )
