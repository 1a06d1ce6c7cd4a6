"""The plugin's descriptions."""

from __future__ import annotations

from collections.abc import Iterator

from mlxk_core.api import CommandSpec, hookimpl


@hookimpl
def mlxk_commands() -> Iterator[CommandSpec]:
    yield CommandSpec(
        name="launch",
        summary="Start a coding agent on a local model.",
        target="mlxk_launch.launch:launch",
        section="Run models",
    )
