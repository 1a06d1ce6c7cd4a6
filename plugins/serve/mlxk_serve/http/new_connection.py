"""Connections that have sent nothing yet: cheaper than a `Channel`, which is made when the first bytes come."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import MutableMapping
from typing import Any, Protocol

from mlxk_serve.config import Limits
from mlxk_serve.http.channel import Channel
from mlxk_serve.http.connection import Connection
from mlxk_serve.http.dispatcher import PROBES

_PROBE_STARTS = tuple(f"{method} {path} ".encode() for method in ("GET", "HEAD") for path in PROBES)
_START = max(map(len, _PROBE_STARTS))
_UNREAD, _UNREAD_PROBE = 0.1, 1.0
"""Seconds that a request, and a probe, waits to be read before its place may be given to another one."""


class Accepting(Protocol):
    """Interface of the listener that accepted a connection (`mlxk_serve.http.listener.Listener`)."""

    limits: Limits

    def receive(self, sock: socket.socket, address: Any, /) -> Channel | None: ...

    def reject(self, sock: socket.socket, /) -> None: ...


class NewConnection(Connection):
    """An accepted socket. Its first bytes are looked at, and stay with the system. It is in `map` while it is open."""

    busy = lingering = parsable = False
    interest = select.POLLIN
    connected = False
    last_activity = 0.0
    _fileno: int

    def __init__(self, listener: Accepting, sock: socket.socket, address: Any, map: MutableMapping[int, Any]) -> None:
        super().__init__()
        self._listener, self._socket, self._address, self._map = listener, sock, address, map
        self._fileno = sock.fileno()
        self._start: bytes | None = None
        self._started = 0.0
        self.last_activity = time.monotonic()
        sock.setblocking(False)

    def open(self) -> None:
        """Wait for the first bytes from now on."""
        self.connected = True
        self._map[self._fileno] = self

    @property
    def ended(self) -> bool:
        """Whether the client sends nothing any more, and never did."""
        return self._peek() == b""

    @property
    def probing(self) -> bool:
        """Whether a probe waits to be received."""
        return (self._peek() or b"").startswith(_PROBE_STARTS)

    def _peek(self) -> bytes | None:
        """Return the first bytes, none after the end, None if there are none yet."""
        if self._start is None:
            try:
                self._start = self._socket.recv(_START, socket.MSG_PEEK)
            except BlockingIOError:
                return None
            except OSError:
                self._start = b""
            self._started = time.monotonic()
        return self._start

    @property
    def spared_since(self) -> tuple[int, float] | None:
        if self.quiet:
            return 1, self.last_activity
        longest = _UNREAD_PROBE if self.probing else _UNREAD
        return (4, self._started) if self._start and time.monotonic() - self._started > longest else None

    def receive(self) -> Channel | None:
        """Return the channel that can receive the first bytes; None if the client has disconnected."""
        if self.ended:
            self.handle_close()
            return None
        self._leave()
        return self._listener.receive(self._socket, self._address)

    def handle_close(self) -> None:
        if self.connected:
            self._leave()
        self._socket.close()

    def make_room(self) -> None:
        if self._start:
            self._listener.reject(self._socket)
        self.handle_close()

    close = handle_close

    def _leave(self) -> None:
        self.connected = False
        del self._map[self._fileno]

    def enforce_deadlines(self, now: float) -> None:
        if now - self.last_activity > self._listener.limits.idle_time:
            self.handle_close()
