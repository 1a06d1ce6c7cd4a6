"""Plugin of the command `pull`."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import CommandSpec, hookimpl


@hookimpl
def mlxk_commands() -> Iterable[CommandSpec]:
    yield CommandSpec(
        name="pull",
        summary="Download models from the hub, or repair them.",
        target="mlxk_pull.pull:pull",
        section="Manage models",
    )
