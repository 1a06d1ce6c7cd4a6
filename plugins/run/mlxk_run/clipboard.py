"""Copying text to the clipboard: by the system's program, else by the terminal itself."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator

from mlxk_core.api.commands import Output
from mlxk_core.api.errors import MlxkError

_TIMEOUT = 5  # seconds
_TERMINAL_LIMIT = 74_994  # bytes that xterm takes


def copy(text: str, output: Output) -> str:
    """Copy `text` and return the line that says how. Raises `MlxkError` if there is no way."""
    for command in _programs():
        try:
            # Without pipes: xclip stays in the background and would keep them open.
            subprocess.run(
                command,
                input=text.encode("utf-8", errors="replace"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_TIMEOUT,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return "Copied."
    encoded = base64.b64encode(text.encode("utf-8", errors="replace"))
    if output.stdout_is_terminal and os.environ.get("TERM") != "dumb" and len(encoded) < _TERMINAL_LIMIT:
        output.write(f"\x1b]52;c;{encoded.decode()}\x07")
        return "Sent to the terminal's clipboard."
    raise MlxkError("Cannot copy: no clipboard program (pbcopy, wl-copy, xclip or xsel) works here.")


def _programs() -> Iterator[list[str]]:
    if shutil.which("pbcopy"):
        yield ["pbcopy"]
    if os.environ.get("WAYLAND_DISPLAY") and shutil.which("wl-copy"):
        yield ["wl-copy"]
    if os.environ.get("DISPLAY") and shutil.which("xclip"):
        yield ["xclip", "-selection", "clipboard"]
    if os.environ.get("DISPLAY") and shutil.which("xsel"):
        yield ["xsel", "--clipboard", "--input"]
