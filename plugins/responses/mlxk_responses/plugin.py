"""The plugin's descriptions."""

from __future__ import annotations

from collections.abc import Iterator

from mlxk_core.api import ServerExtensionSpec, SettingsSection, hookimpl


@hookimpl
def mlxk_server_extensions() -> Iterator[ServerExtensionSpec]:
    yield ServerExtensionSpec(
        name="responses", summary="OpenAI's Responses API (/v1/responses).", target="mlxk_responses.routes:extend"
    )


@hookimpl
def mlxk_settings() -> Iterator[SettingsSection]:
    yield SettingsSection(
        name="responses",
        summary="Stored responses of `/v1/responses`.",
        type="mlxk_responses.settings:ResponsesSettings",
    )
