"""Connections that have sent nothing yet: cheaper than a `Channel`, which is made when the first bytes come."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Any, Protocol

from mlxk_serve.config import Limits
from mlxk_serve.http.capacity import Capacity
from mlxk_serve.http.connection import Connection
from mlxk_serve.http.dispatcher import PROBES

_PROBE_STARTS = tuple(f"{method} {path} ".encode() for method in ("GET", "HEAD") for path in PROBES)
_START = 2048
"""Bytes that are looked at: a probe fits in there."""
_UNREAD, _UNREAD_PROBE = 0.1, 1.0
"""Seconds that a request, and a probe, waits to be read before its place may be given to another one."""


class Accepting(Protocol):
    """Interface of the listener that accepted a connection (`mlxk_serve.http.listener.Listener`)."""

    limits: Limits
    connections: dict[int, Any]
    capacity: Capacity
    rejection: bytes

    def respond_unread(self, new: NewConnection, /, *, room: bool) -> bool: ...

    def receive(self, new: NewConnection, /) -> None: ...


class NewConnection(Connection):
    """An accepted socket. Its first bytes are looked at, and stay with the system."""

    busy = lingering = parsable = False
    interest = select.POLLIN
    connected = False
    last_activity = 0.0
    _fileno: int

    def __init__(self, listener: Accepting, sock: socket.socket, address: Any) -> None:
        super().__init__()
        self.address = address
        self._listener, self._socket = listener, sock
        self._fileno = sock.fileno()
        self._start: bytes | None = None
        self._started = 0.0
        self.last_activity = time.monotonic()
        sock.setblocking(False)

    def open(self) -> None:
        """Wait for the first bytes from now on."""
        self.connected = True
        self._listener.connections[self._fileno] = self

    @property
    def ended(self) -> bool:
        """Whether the client sends nothing any more, and never did."""
        return self.start == b""

    @property
    def probing(self) -> bool:
        """Whether one probe waits to be received, and nothing else."""
        start = self.start or b""
        return start.startswith(_PROBE_STARTS) and start.find(b"\r\n\r\n") == len(start) - 4

    @property
    def start(self) -> bytes | None:
        """The first bytes, none after the end, None if there are none yet."""
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

    def handle(self, flags: int) -> None:
        """Let a channel receive the first bytes."""
        if self.ended:
            self.handle_close()
        elif not self._listener.respond_unread(self, room=not self._listener.capacity.exceeded):
            self._listener.receive(self)

    def detach(self) -> socket.socket:
        """Return the socket, which someone else closes from now on."""
        if self.connected:
            self._leave()
        return self._socket

    def handle_close(self) -> None:
        self.detach().close()

    def respond(self, response: bytes) -> None:
        """Answer without looking at more of the request, and close the connection."""
        with contextlib.suppress(OSError):
            self._socket.recv(self._listener.limits.receive)  # unread bytes would reset the connection
            self._socket.send(response)
        self.handle_close()

    def make_room(self) -> None:
        if self._start:
            self.respond(self._listener.rejection)
        else:
            self.handle_close()

    close = handle_close

    def _leave(self) -> None:
        self.connected = False
        del self._listener.connections[self._fileno]

    def enforce_deadlines(self, now: float) -> None:
        if now - self.last_activity > self._listener.limits.idle_time:
            self.handle_close()
