"""From the first client to the last: the main thread turns the loop, hears signals, and makes sure of the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from types import FrameType
from typing import Any

from mlxk_serve.observability.log import LOGGER
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


class _NeverServed(BaseException):
    """SIGTERM or SIGHUP came while the server was still being put together."""


class Lifetime:
    """Runs the one server that `start` gives until it is told to end.

    Ctrl-C (SIGINT) drains; a second one cuts what is left, a third leaves at once. SIGTERM and SIGHUP drain for a few
    seconds and then cut. `changed` is asked once in a while whether the server is to make room for its successor.
    """

    def __init__(self, start: Callable[[], Server], *, changed: Callable[[], bool] | None = None) -> None:
        self._start = start
        self._server: Server | None = None
        self._changed = changed
        self._interrupts = 0
        self._terminated = False

    def run(self, ready: Callable[[Server], None]) -> End:
        """Starts the server, lets clients in, calls `ready`, and comes back when the last client is served and the
        server closed. A Ctrl-C during the start is raised."""
        with self._signals():  # to the very end: a signal while the server closes must not end it halfway
            try:
                server = self._server = self._start()
            except _NeverServed:
                return End.DONE
            with server:
                server.http.listen()
                ready(server)
                restart = self._serve(server)
                self._drain(server, restart)
        if self._interrupts > 1:
            return End.INTERRUPTED
        told_to_end = self._interrupts or self._terminated
        return End.CHANGED if restart and not told_to_end else End.DONE

    def _serve(self, server: Server) -> bool:
        """Until somebody ends it; whether that was a change."""
        while not (self._interrupts or self._terminated):
            server.http.turn(_TURN)
            if self._changed is not None and self._changed():
                return True
        return False

    def _drain(self, server: Server, restart: bool) -> None:
        limits = server.config.limits
        server.drain()
        began = time.monotonic()
        cut_at: float | None = None
        server.http.turn(0)
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
        if self._server is None:
            raise KeyboardInterrupt
        self._server.http.wake()

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        again, self._terminated = self._terminated, True
        if self._server is not None:
            self._server.http.wake()
        elif not again:  # the first one is being obeyed
            raise _NeverServed


def leave(code: int) -> None:
    """Ends the process, whatever any of its threads is doing."""
    os._exit(code)  # no flush: all is written at once, and a thread that writes to a full pipe would never let us
