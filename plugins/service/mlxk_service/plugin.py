"""Plugin of the commands `ps`, `stop`, `status`, `service`, `doctor` and `bench`."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import CommandSpec, hookimpl


@hookimpl
def mlxk_commands() -> Iterable[CommandSpec]:
    yield CommandSpec(
        name="ps",
        summary="List the models a running server has loaded.",
        target="mlxk_service.servers:ps",
        section="Server",
    )
    yield CommandSpec(
        name="status",
        summary="Show what a running server is doing.",
        target="mlxk_service.servers:status",
        section="Server",
    )
    yield CommandSpec(
        name="stop", summary="Unload models from a running server.", target="mlxk_service.stop:stop", section="Server"
    )
    yield CommandSpec(
        name="service",
        summary="Run the server in the background, from login on.",
        target="mlxk_service.service:service",
        section="Server",
    )
    yield CommandSpec(
        name="doctor",
        summary="Check this machine and this installation, with a fix for each problem.",
        target="mlxk_service.doctor:doctor",
        section="Setup",
    )
    yield CommandSpec(
        name="bench",
        summary="Measure how fast a model reads prompts and generates tokens.",
        target="mlxk_service.bench:bench",
        section="Run models",
    )
