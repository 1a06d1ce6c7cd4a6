"""Plugin of the command `push`, which is experimental and off by default."""

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
        requires=reason_disabled,
        section="Manage models",
    )


def reason_disabled() -> str | None:
    """Return why push is off, None if it is enabled."""
    enabled = {name.strip() for name in os.environ.get("MLXK_ENABLE_EXPERIMENTAL", "").split(",")}
    if enabled & {"push", "all"}:
        return None
    return "it is experimental. Set MLXK_ENABLE_EXPERIMENTAL=push (or all) to enable it."
