"""The plugin's descriptions."""

from __future__ import annotations

from collections.abc import Iterator

from mlxk_core.api import ServerExtensionSpec, hookimpl


@hookimpl
def mlxk_server_extensions() -> Iterator[ServerExtensionSpec]:
    yield ServerExtensionSpec(
        name="messages", summary="Anthropic's Messages API (/v1/messages).", target="mlxk_messages.routes:extend"
    )
