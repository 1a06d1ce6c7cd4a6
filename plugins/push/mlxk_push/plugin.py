"""What the push plugin brings: an experiment, off unless it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable

from mlxk_core.api import CommandSpec, hookimpl


@hookimpl
def mlxk_commands() -> Iterable[CommandSpec]:
    yield CommandSpec(
        name="push",
        summary="Upload a model folder to the hub (experimental).",
        target="mlxk_push.push:push",
        requires=why_off,
    )


def why_off() -> str | None:
    """The reason why push is not to be had, or None."""
    asked_for = {name.strip() for name in os.environ.get("MLXK_ENABLE_EXPERIMENTAL", "").split(",")}
    if asked_for & {"push", "all"}:
        return None
    return "it is experimental. Set MLXK_ENABLE_EXPERIMENTAL=push (or all) to enable it."
