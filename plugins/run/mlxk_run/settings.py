"""The section `[chat]` of the settings file."""

from __future__ import annotations

from dataclasses import dataclass

from mlxk_core.api.settings import setting


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """Settings of `mlxk run`."""

    save: bool = setting("Save chats; `mlxk chats` lists them.", default=True)
    trim: bool = setting("Drop the oldest turns of a chat when the context is full.", default=True)
    markdown: bool = setting("Render Markdown on a terminal.", default=True)
