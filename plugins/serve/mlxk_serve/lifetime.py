"""From the first client to the last: the main thread turns the loop, hears signals, and makes sure of the end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from types import FrameType
from typing import Any

from mlxk_serve.log import LOGGER
from mlxk_serve.server import Server

_TURN = 1.0
_QUICK_TURN = 0.05
_AT_ONCE = 130


class End(Enum):
    """Why a server ended."""

    DONE = auto()
    """Asked to, and it gave the answers it owed, or as many as the time allowed."""
    INTERRUPTED = auto()
    """By a second Ctrl-C."""
    CHANGED = auto()
    """Its code has changed."""


class Lifetime:
    """Runs one server until it is told to end.

    Ctrl-C (SIGINT) drains; a second one cuts what is left, a third leaves at once. SIGTERM and SIGHUP drain for a few
    seconds and then cut. `changed` is asked once in a while whether the server is to make room for its successor.
    """

    def __init__(self, server: Server, *, changed: Callable[[], bool] | None = None) -> None:
        self._server = server
        self._changed = changed
        self._interrupts = 0
        self._terminated = False

    def run(self, ready: Callable[[], None]) -> End:
        """Lets clients in, calls `ready`, and comes back when the last client is served and the server closed."""
        with self._signals():  # to the very end: a signal while the server closes must not end it halfway
            try:
                self._server.http.listen()
                ready()
                restart = self._serve()
                self._drain(restart)
            finally:
                self._server.close()
        if self._interrupts > 1:
            return End.INTERRUPTED
        return End.CHANGED if restart else End.DONE

    def _serve(self) -> bool:
        """Until somebody ends it; whether that was a change."""
        while not (self._interrupts or self._terminated):
            self._server.http.turn(_TURN)
            if self._changed is not None and self._changed():
                return True
        return False

    def _drain(self, restart: bool) -> None:
        server, limits = self._server, self._server.config.limits
        server.drain()
        began = time.monotonic()
        cut_at: float | None = None
        if any(channel.busy for channel in server.http.channels):
            LOGGER.info("waiting for the answers that are under way")
        while True:
            server.http.close_idle()
            now = time.monotonic()
            patience = limits.terminate_time if self._terminated or restart else limits.drain_time
            if cut_at is None and (self._interrupts > 1 or now - began >= patience):
                LOGGER.warning("cutting the answers that are under way")
                server.cut()
                cut_at = now
            if not server.http.channels or (cut_at is not None and now - cut_at >= limits.cut_time):
                return
            server.http.turn(_QUICK_TURN)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        hangup = getattr(signal, "SIGHUP", None)
        wanted: dict[Any, Callable[[int, FrameType | None], None]] = {
            signal.SIGINT: self._on_interrupt,
            signal.SIGTERM: self._on_terminate,
        }
        if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # nohup means it
            wanted[hangup] = self._on_terminate
        before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts > 2:
            leave(_AT_ONCE)
        self._server.http.wake()

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True
        self._server.http.wake()


def leave(code: int) -> None:
    """Ends the process, whatever any of its threads is doing."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, RuntimeError):  # closed, or being written to right now
            continue
    os._exit(code)
