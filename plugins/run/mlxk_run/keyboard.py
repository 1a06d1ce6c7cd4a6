"""The terminal's keyboard while an answer is shown: what is typed is neither echoed nor lost.

The terminal's mode is restored however the process ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from mlxk_core.api.commands import terminations_handled

try:
    import termios
except ImportError:  # not a POSIX system
    termios = None  # type: ignore[assignment]

_LOOK_AGAIN = 0.5  # seconds between two looks at the terminal's mode, which a shell changes after Ctrl-Z and `fg`


@contextlib.contextmanager
def mode_restored() -> Iterator[None]:
    """Restore the terminal's present mode if SIGTERM or SIGHUP ends the process meanwhile. Most shells do so at a
    prompt, and none in a script."""
    descriptor = _foreground_terminal()
    if descriptor is None:
        yield
        return
    mode = termios.tcgetattr(descriptor)

    def end(number: int) -> None:
        if _foreground_terminal() is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSANOW, mode)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        os._exit(128 + number)  # process 1 of a container has no default action

    with terminations_handled(end):
        yield


@contextlib.contextmanager
def typing_hidden(*, keep: bool = False) -> Iterator[None]:
    """Turn off the echo of the keyboard. What is typed stays in the terminal's queue, with `keep` also after Ctrl-C."""
    descriptor = _foreground_terminal()
    if descriptor is None:
        yield
        return
    before = termios.tcgetattr(descriptor)
    hidden = [*before]
    hidden[3] = before[3] & ~termios.ECHO | (termios.NOFLSH if keep else 0)
    termios.tcsetattr(descriptor, termios.TCSANOW, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


@contextlib.contextmanager
def collect_keys(give: Callable[[bytes], None]) -> Iterator[None]:
    """Turn off the echo of the keyboard, and `give` the bytes of all keys at the end. Ctrl-C and Ctrl-Z work as ever.

    They are read as they arrive: a terminal whose queue is full would not see Ctrl-C.
    """
    descriptor = _foreground_terminal()
    if descriptor is None:
        yield
        return
    before = termios.tcgetattr(descriptor)
    reader = _Reader(descriptor, _raw(before))
    reader.start()
    try:
        yield
    finally:
        data = reader.stop()
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
        give(data)


class _Reader(threading.Thread):
    """Reads keys until `stop`. Pauses while the process is in the background."""

    def __init__(self, descriptor: int, mode: list[Any]) -> None:
        super().__init__(name="mlxk-keyboard", daemon=True)
        self._descriptor = descriptor
        self._mode = mode
        self._data = bytearray()
        self._wake_reader, self._wake_writer = os.pipe()

    def start(self) -> None:
        self._apply_mode()
        super().start()

    def run(self) -> None:
        watched = [self._wake_reader, self._descriptor]
        with contextlib.suppress(OSError, termios.error):  # the terminal is gone
            while True:
                ready, _, _ = select.select(watched, [], [], _LOOK_AGAIN)
                if self._wake_reader in ready:
                    return
                if not _is_foreground(self._descriptor):
                    watched = watched[:1]  # the keys are the shell's; reading them would stop the process
                    continue
                watched = [self._wake_reader, self._descriptor]
                self._apply_mode()
                if self._descriptor in ready and not self._read():
                    return

    def stop(self) -> bytes:
        """End the thread and return the bytes of all keys."""
        os.write(self._wake_writer, b"x")
        self.join()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        with contextlib.suppress(OSError, termios.error):
            while _is_foreground(self._descriptor) and select.select([self._descriptor], [], [], 0)[0]:
                if not self._read():
                    break
        return bytes(self._data)

    def _apply_mode(self) -> None:
        if termios.tcgetattr(self._descriptor) != self._mode:
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._mode)

    def _read(self) -> bool:
        part = os.read(self._descriptor, 4096)
        self._data += part
        return bool(part)


def _raw(mode: list[Any]) -> list[Any]:
    """Return a terminal mode in which every key is read at once and only Ctrl-C, Ctrl-Z and Ctrl-S act."""
    raw = [*mode[:6], [*mode[6]]]
    raw[0] &= ~termios.ICRNL  # Enter and Ctrl-J are different keys to an editor
    raw[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
    raw[3] |= termios.NOFLSH  # Ctrl-C would throw away what was typed before it
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
    return raw


def _foreground_terminal() -> int | None:
    """Return the keyboard's descriptor; None for a job in the background, which the system would stop for using it."""
    if termios is None or sys.stdin is None:
        return None
    try:
        descriptor = sys.stdin.fileno()
        return descriptor if os.isatty(descriptor) and _is_foreground(descriptor) else None
    except (OSError, ValueError):  # no terminal, or not a file of the operating system
        return None


def _is_foreground(descriptor: int) -> bool:
    return os.tcgetpgrp(descriptor) == os.getpgrp()
