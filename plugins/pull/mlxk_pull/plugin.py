"""What the pull plugin brings."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import CommandSpec, hookimpl


@hookimpl
def mlxk_commands() -> Iterable[CommandSpec]:
    yield CommandSpec(
        name="pull",
        summary="Download a model from the hub, or repair it.",
        target="mlxk_pull.pull:pull",
    )
