"""The description of the backend. Light: `mlxk --help` imports it."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import BackendSpec, Verdict, hookimpl
from mlxk_core.api.models import Model


def accepts(model: Model) -> Verdict:
    if model.config.get("model_type") != "nano":
        return Verdict.foreign("not a nano transformer")
    if model.config.get("hidden_size", 0) % model.config.get("heads", 1):
        return Verdict.no("hidden_size is not a multiple of heads")
    return Verdict.yes()


SPEC = BackendSpec(
    name="nano",
    summary="Nano transformers, in the batch of mlxk-mlx.",
    accepts=accepts,
    target="mlxk_nano.network:load",
    constraints=True,  # the engine of mlxk-mlx keeps to them
)


@hookimpl
def mlxk_backends() -> Iterable[BackendSpec]:
    yield SPEC
