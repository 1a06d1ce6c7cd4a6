"""Plugin of the command `mlxk serve`."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import CommandSpec, hookimpl


@hookimpl
def mlxk_commands() -> Iterable[CommandSpec]:
    yield CommandSpec(
        name="serve",
        summary="Serve models over the OpenAI API.",
        target="mlxk_serve.serve:serve",
        aliases=("server",),
        section="Server",
    )
