"""The plugin's descriptions."""

from __future__ import annotations

from collections.abc import Iterator

from mlxk_core.api import ServerExtensionSpec, hookimpl


@hookimpl
def mlxk_server_extensions() -> Iterator[ServerExtensionSpec]:
    yield ServerExtensionSpec(
        name="responses", summary="OpenAI's Responses API (/v1/responses).", target="mlxk_responses.routes:extend"
    )
