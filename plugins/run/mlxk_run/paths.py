"""Files that mlxk keeps between runs."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """Return the folder of chats and history (`$XDG_STATE_HOME/mlxk`)."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "mlxk"


def history_file() -> Path:
    """Return the file of typed lines."""
    return state_folder() / "history"


def chats_file() -> Path:
    """Return the database of saved chats."""
    return state_folder() / "chats.db"
