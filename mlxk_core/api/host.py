"""The plugin host, for code that embeds mlxk or lists plugins."""

from __future__ import annotations

from mlxk_core._host.host import Host
from mlxk_core._host.plugin import PluginRecord
from mlxk_core._isolation.error_place import describe_error

__all__ = [
    "Host",
    "PluginRecord",
    "describe_error",
]
