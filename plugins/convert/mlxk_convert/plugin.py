"""Plugin of the command `convert`."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import CommandSpec, hookimpl


@hookimpl
def mlxk_commands() -> Iterable[CommandSpec]:
    yield CommandSpec(
        name="convert",
        summary="Quantize a model, or change the form of its weights.",
        target="mlxk_convert.convert:convert",
        aliases=("quantize",),
        section="Manage models",
    )
