"""Plugin of the commands `run` and `chats`, and of the settings section `chat`."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import CommandSpec, SettingsSection, hookimpl


@hookimpl
def mlxk_commands() -> Iterable[CommandSpec]:
    yield CommandSpec(
        name="run",
        summary="Answer a prompt with a model, or chat with it.",
        target="mlxk_run.run:run",
        aliases=("chat",),
        section="Run models",
    )
    yield CommandSpec(
        name="chats",
        summary="List, show, search, export and delete saved chats.",
        target="mlxk_run.chats:chats",
        section="Run models",
    )


@hookimpl
def mlxk_settings() -> Iterable[SettingsSection]:
    yield SettingsSection(
        name="chat", summary="Chats and answers of `mlxk run`.", type="mlxk_run.settings:ChatSettings"
    )
