"""Files that mlxk keeps between runs."""

from __future__ import annotations

from pathlib import Path

from mlxk_core.api.paths import user_folder


def state_folder() -> Path:
    """Return the folder of chats and history (`$XDG_STATE_HOME/mlxk`). Raises `NoHomeFolder`."""
    return user_folder("XDG_STATE_HOME", "~/.local/state") / "mlxk"


def history_file() -> Path:
    """Return the file of typed lines."""
    return state_folder() / "history"


def chats_file() -> Path:
    """Return the database of saved chats."""
    return state_folder() / "chats.db"
