"""The plugin's descriptions."""

from __future__ import annotations

from collections.abc import Iterator

from mlxk_core.api import ServerExtensionSpec, hookimpl


@hookimpl
def mlxk_server_extensions() -> Iterator[ServerExtensionSpec]:
    yield ServerExtensionSpec(name="ollama", summary="Ollama's API (/api/…).", target="mlxk_ollama.routes:extend")
