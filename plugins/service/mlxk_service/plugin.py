"""Contributions of mlxk-service: the commands ps, stop, status, doctor and bench."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import CommandSpec, hookimpl


@hookimpl
def mlxk_commands() -> Iterable[CommandSpec]:
    yield CommandSpec(
        name="doctor",
        summary="Check this machine and this installation, with a fix for each problem.",
        target="mlxk_service.doctor:doctor",
    )
