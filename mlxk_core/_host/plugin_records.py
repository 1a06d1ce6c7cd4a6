"""The records of plugins, with everything they provide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlxk_core._host import command_selection
from mlxk_core._host.contributions import Named
from mlxk_core._host.plugin import Plugin, PluginRecord
from mlxk_core._host.registry import Registry
from mlxk_core._host.specs import SettingsSection


def complete_records(registry: Registry, sections: Sequence[tuple[Plugin, SettingsSection]]) -> list[PluginRecord]:
    """Return one record for each plugin. `sections` are the sections of the settings file that can be used."""
    provided: list[tuple[str, Plugin, Named]] = [
        *(("command", *entry) for entry in command_selection.available(registry)),
        *((each.kind, *entry) for each in registry.other_kinds for entry in each),
        *(("settings section", *entry) for entry in sections),
        *(("quantization detector", *entry) for entry in registry.quantization_detectors),
        *(("lifecycle listener", *entry) for entry in registry.lifecycle),
    ]
    return [_record(registry, plugin, provided) for plugin in registry.plugins]


def _record(registry: Registry, plugin: Plugin, provided: Sequence[tuple[str, Plugin, Named]]) -> PluginRecord:
    provides = [f"{kind} {spec.name}" for kind, owner, spec in provided if owner is plugin]
    if "mlxk_stop_policies" in plugin.hooks:
        provides.append("stop policy")
    lost = [sentence for each in registry.kinds for sentence in each.names_lost_by(plugin)]
    reason = plugin.record.reason or plugin.needs_other_core()
    return replace(plugin.record, provides=tuple(provides), reason=reason, conflicts=tuple(lost))
