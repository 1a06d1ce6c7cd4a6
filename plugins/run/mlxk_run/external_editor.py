"""Editing a text in the user's editor."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mlxk_core.api.commands import open_editor
from mlxk_core.api.errors import MlxkError


def edit(text: str) -> str:
    """Open `text` in the user's editor and return the result. Raises `MlxkError` if the editor fails."""
    with tempfile.TemporaryDirectory(prefix="mlxk-") as folder:
        file = Path(folder) / "message.md"
        file.write_text(text, encoding="utf-8")
        open_editor(file)
        try:
            return file.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise MlxkError(f"Cannot read what the editor wrote: {error.strerror}. Nothing changed.") from error
