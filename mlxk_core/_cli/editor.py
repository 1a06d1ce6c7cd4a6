"""Files opened in the user's editor."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from mlxk_core._errors import MlxkError

_HINT = "Set $EDITOR to another one."


def open_editor(file: Path) -> None:
    """Open `file` in `$VISUAL`, `$EDITOR` or vi, and wait for its end. Raises `MlxkError` if it fails."""
    command = os.environ.get("VISUAL", "").strip() or os.environ.get("EDITOR", "").strip() or "vi"
    try:
        with interrupts_ignored():  # Ctrl-C is a key of the editor, and would otherwise end it
            code = subprocess.run([*shlex.split(command), str(file)], check=False).returncode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise MlxkError(f"The editor `{command}` failed: {reason}. {_HINT}", editor=command) from error
    if code:
        ending = f"exit code {code}" if code > 0 else f"signal {-code}"
        raise MlxkError(f"The editor `{command}` failed with {ending}. {_HINT}", editor=command)


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C in this process, but not in those that it starts."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
