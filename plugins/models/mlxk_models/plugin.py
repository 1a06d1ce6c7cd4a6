"""Plugin of the commands `list`, `show`, `health` and `rm`, and of the quantization detector `pytorch`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlxk_core.api import CommandSpec, Quantization, QuantizationDetectorSpec, hookimpl

if TYPE_CHECKING:
    from mlxk_core.api import Model


@hookimpl
def mlxk_commands() -> Iterable[CommandSpec]:
    yield CommandSpec(
        name="list",
        summary="List local models.",
        target="mlxk_models.list:list_",
        aliases=("ls",),
        section="Manage models",
    )
    yield CommandSpec(
        name="show", summary="Show details of a model.", target="mlxk_models.show:show", section="Manage models"
    )
    yield CommandSpec(
        name="health", summary="Check the files of models.", target="mlxk_models.health:health", section="Manage models"
    )
    yield CommandSpec(name="rm", summary="Delete models.", target="mlxk_models.rm:rm", section="Manage models")


@hookimpl
def mlxk_quantization_detectors() -> Iterable[QuantizationDetectorSpec]:
    yield QuantizationDetectorSpec(name="pytorch", detect=_detect)


def _detect(model: Model) -> Iterable[Quantization]:
    from mlxk_models.quantization import detect

    return detect(model)
