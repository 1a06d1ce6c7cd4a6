"""Editing a text in the user's editor."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from mlxk_core.api.errors import MlxkError

_EDITORS = ("VISUAL", "EDITOR")
_DEFAULT = "vi"


def edit(text: str) -> str:
    """Open `text` in `$VISUAL`, `$EDITOR` or vi and return the result. Raises `MlxkError` if the editor fails."""
    command = next((os.environ[name] for name in _EDITORS if os.environ.get(name)), _DEFAULT)
    with tempfile.TemporaryDirectory(prefix="mlxk-") as folder:
        file = Path(folder) / "message.md"
        file.write_text(text, encoding="utf-8")
        try:
            subprocess.run([*shlex.split(command), str(file)], check=True)
            return file.read_text(encoding="utf-8", errors="replace")
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise MlxkError(f"The editor `{command}` failed: {error}. Set $EDITOR to another one.") from error
