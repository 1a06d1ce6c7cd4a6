"""The terminal's keyboard while an answer is shown: what is typed is neither echoed nor lost."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
from collections.abc import Iterator

try:
    import termios
except ImportError:  # not a POSIX system
    termios = None  # type: ignore[assignment]

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class TypeAhead:
    """Text that was typed while no prompt was shown."""

    def __init__(self) -> None:
        self.text = ""


@contextlib.contextmanager
def typing_hidden(*, keep: bool) -> Iterator[TypeAhead]:
    """Turn off the echo of the keyboard. With `keep`, what was typed is in the result afterwards, for the next prompt
    of a chat; without it, the keys stay in the terminal's queue, for the shell."""
    typed = TypeAhead()
    descriptor = _foreground_terminal()
    if descriptor is None:
        yield typed
        return
    before = termios.tcgetattr(descriptor)
    hidden = [*before[:6], [*before[6]]]
    hidden[3] &= ~(termios.ECHO | (termios.ICANON if keep else 0))
    if keep:
        hidden[3] |= termios.NOFLSH  # Ctrl-C would throw away what was typed before it
        hidden[6][termios.VMIN], hidden[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, hidden)
    try:
        yield typed
    finally:
        if keep:
            typed.text = _text(_pending(descriptor))
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


def _foreground_terminal() -> int | None:
    """Return the keyboard's descriptor; None for a job in the background, which the system would stop for using it."""
    if termios is None or sys.stdin is None:
        return None
    try:
        descriptor = sys.stdin.fileno()
        if os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp():
            return descriptor
    except (OSError, ValueError):  # no terminal, or not a file of the operating system
        pass
    return None


def _pending(descriptor: int) -> bytes:
    data = b""
    with contextlib.suppress(OSError):
        while select.select([descriptor], [], [], 0)[0]:
            part = os.read(descriptor, 4096)
            if not part:
                break
            data += part
    return data


def _text(data: bytes) -> str:
    """Return the text of typed keys, without arrow keys and other control sequences."""
    text = data.decode("utf-8", errors="ignore").replace("\r", "\n")
    return _CONTROL.sub("", _ESCAPE.sub("", text)).rstrip("\n")
