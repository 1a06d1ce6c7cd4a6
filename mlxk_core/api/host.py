"""The plugin host, for code that embeds mlxk or lists plugins."""

from __future__ import annotations

from mlxk_core._host.host import Host
from mlxk_core._host.loader import describe_error

__all__ = [
    "Host",
    "describe_error",
]
