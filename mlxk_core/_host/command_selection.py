"""The commands that can be typed: contested ones and those that are off cannot."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from mlxk_core._errors import UsageError
from mlxk_core._host import hints
from mlxk_core._host.plugin import Plugin
from mlxk_core._host.registry import BUILTIN_COMMANDS, Registry
from mlxk_core._host.specs import CommandSpec


def available(registry: Registry) -> list[tuple[Plugin, CommandSpec]]:
    """Return the commands that are on, sorted by name, with their plugins."""
    return [(plugin, spec) for plugin, spec in registry.commands if _why_off(registry, plugin, spec) is None]


def command_called(registry: Registry, name: str) -> CommandSpec:
    """Return the command with that name or alias. Raises `PluginConflict`, or `UsageError` if it is unknown or off."""
    found = registry.commands.get(name)
    if found is None:
        names = [*BUILTIN_COMMANDS, *(spec.name for _, spec in available(registry))]
        hint = hints.unknown_command(name, names, registry.records)
        distribution = hints.known("commands").get(name)
        raise UsageError(
            f"No such command `{name}`. {hint or '`mlxk --help` lists the commands.'}",
            command=name,
            distribution=distribution,
            explained=hint is not None,
        )
    reason = _why_off(registry, *found)
    if reason is not None:
        raise UsageError(f"`{name}` is off: {reason}", command=name, reason=reason)
    return found[1]


def _why_off(registry: Registry, plugin: Plugin, spec: CommandSpec) -> str | None:
    if spec.requires is None:
        return None
    requires, what = partial(_reason, spec.requires), f"requires of {spec.name}"
    failed = "its check failed; `mlxk plugins` shows why"
    return registry.isolation.guard(plugin, what, requires, default=failed, source=spec.requires)


def _reason(requires: Callable[[], Any]) -> str | None:
    reason = requires()
    if reason is not None and not isinstance(reason, str):
        raise TypeError(f"it returns {type(reason).__name__}, not str or None")
    return reason
