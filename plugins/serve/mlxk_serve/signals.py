"""Signals of the serve command: Ctrl-C and SIGTERM end a running server, and a server that is still starting."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mlxk_serve.server import End, Server

_INTERRUPTED = 130


class _Terminated(BaseException):
    """SIGTERM or SIGHUP came while the server was starting."""


class SignalHandler:
    """Runs one server under signal handlers.

    Ctrl-C (SIGINT) drains; a second one cuts off open responses, a third exits at once. SIGTERM and SIGHUP drain for a
    few seconds and then cut off; a second SIGTERM cuts off at once.
    """

    def __init__(self) -> None:
        self._server: Server | None = None
        self._interrupts = 0
        self._terminations = 0

    def run(
        self, start: Callable[[], Server], ready: Callable[[Server], None], changed: Callable[[], bool] | None = None
    ) -> End:
        """Start a server and run it to its end. A Ctrl-C during the start is raised."""
        with self._install():  # to the very end: a signal while the server closes must not end it halfway
            try:
                server = self._server = start()
            except _Terminated:
                return End.DONE
            with server:
                self._pass_on(server)
                return server.run(ready, changed)

    @contextmanager
    def _install(self) -> Iterator[None]:
        hangup = getattr(signal, "SIGHUP", None)
        handlers: dict[Any, Callable[[int, FrameType | None], None]] = {
            signal.SIGINT: self._on_interrupt,
            signal.SIGTERM: self._on_terminate,
        }
        if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # started with nohup
            handlers[hangup] = self._on_terminate
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        if hasattr(signal, "pthread_sigmask"):  # a parent that waits for signals has blocked them: that is inherited
            signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts > 2:
            exit_now(_INTERRUPTED)
        if self._server is None:
            raise KeyboardInterrupt
        self._pass_on(self._server)

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        again = self._terminations > 0
        if number == signal.SIGTERM or not again:  # a terminal that closes may send SIGHUP twice
            self._terminations += 1
        if self._server is not None:
            self._pass_on(self._server)
        elif not again:  # the first one is being handled
            raise _Terminated

    def _pass_on(self, server: Server) -> None:
        server.requests.interrupts = self._interrupts
        server.requests.terminations = self._terminations
        server.http.wake()


def exit_now(code: int) -> None:
    """End the process, whatever its threads are doing."""
    os._exit(code)  # without a flush: a thread that writes to a full pipe would never let the process end
