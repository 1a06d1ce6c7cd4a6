"""Plugin of the command `config`."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import CommandSpec, hookimpl


@hookimpl
def mlxk_commands() -> Iterable[CommandSpec]:
    yield CommandSpec(
        name="config", summary="Show and change the settings file.", target="mlxk_config.config:config", section="Setup"
    )
