"""Accepting connections: who is accepted, and what happens when connections or file descriptors run out."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from waitress.server import BaseWSGIServer, TcpWSGIServer, UnixWSGIServer

from mlxk_core.api.server import ApiError
from mlxk_serve.config import Limits
from mlxk_serve.http.byte_budget import ByteBudget
from mlxk_serve.http.capacity import Capacity
from mlxk_serve.http.channel import TOO_MANY, Channel
from mlxk_serve.http.errors import ErrorEncoders, error_body, status_line
from mlxk_serve.http.new_connection import NewConnection
from mlxk_serve.http.parser import CheckAccess
from mlxk_serve.observability.log import LOGGER

OnRejected = Callable[[str, str, str, ApiError], None]
"""Called for every request that never reached the application: its id, method, path and error."""

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ACCEPTING = 0.06
"""Seconds of a turn for accepting: a busy machine accepts fewer."""
_FREED = 8
"""Connections closed when the descriptors run out: something else needs them too."""
_PAUSE = 0.5
"""Seconds without accepting after the descriptors ran out: the poll would report the same connection without end."""


@cache
def _rejection() -> bytes:
    """Return the response to a request that there is no time to read."""
    body = error_body(TOO_MANY.info)
    headers = {
        "content-type": "application/json",
        "content-length": len(body),
        "connection": "close",
    } | TOO_MANY.headers
    lines = [f"HTTP/1.1 {status_line(TOO_MANY.status)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Listener(BaseWSGIServer):
    """One listening socket."""

    check_access: CheckAccess
    limits: Limits
    errors: ErrorEncoders
    on_rejected: OnRejected
    capacity: Capacity
    bodies: ByteBudget
    unsent: ByteBudget
    probes_at_once: bool
    """Whether the application answers probes without waiting for anything."""
    _paused_until: float | None = None
    _others_wait = False

    def readable(self) -> bool:
        if self._paused_until is not None and time.monotonic() < self._paused_until:
            return False
        return bool(super().readable())

    def handle_accept(self) -> None:
        """Accept those who wait, for some time: one in each turn would be slower than clients connect, and a client
        for whom the system has no room tries again only after a second."""
        end = time.monotonic() + _ACCEPTING
        self._others_wait = True
        while self._others_wait and time.monotonic() < end:
            try:
                accepted = self.accept()
            except OSError as error:  # such as ENETDOWN: of one connection, not of the listener
                LOGGER.debug("a connection was not accepted: %s", error.strerror)
                continue
            self._others_wait = accepted is not None
            if accepted is not None:
                self._open(*accepted)

    def accept(self) -> tuple[socket.socket, Any] | None:
        """Accept one connection if there is a place for it. The system keeps the others until there is one."""
        return self._accept_or_pause() if self.capacity.reserve() else None

    def _open(self, sock: socket.socket, address: Any) -> None:
        new = NewConnection(self, sock, self.fix_addr(address), self._map)
        if new.ended:  # a flood of these is cheap, and costs no other connection its place
            new.handle_close()
        else:
            self.capacity.admit()
            new.open()

    def receive(self, sock: socket.socket, address: Any) -> Channel | None:
        """Return the channel for a connection whose first bytes have come; None if the client has disconnected."""
        try:
            self.set_socket_options(sock)
        except OSError:  # macOS refuses the options of a socket whose client has disconnected
            sock.close()
            return None
        return Channel(self, sock, address, self.adj, map=self._map)

    def reject(self, sock: socket.socket) -> None:
        """Answer the request on a socket without parsing it: there are too many connections."""
        with contextlib.suppress(OSError):
            sock.recv(self.limits.receive)  # unread bytes would reset the connection, and the response with it
            sock.send(_rejection())

    def _accept_or_pause(self) -> tuple[socket.socket, Any] | None:
        accepted: tuple[socket.socket, Any] | None
        try:
            accepted = self._accept_or_make_room()
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise
            if self._paused_until is None:
                LOGGER.error("cannot accept connections: %s. Close some, or raise `ulimit -n`.", error.strerror)
            self._paused_until = time.monotonic() + _PAUSE
            return None
        if accepted is not None and self._paused_until is not None:
            self._paused_until = None
            LOGGER.info("accepting connections again")
        return accepted

    def _accept_or_make_room(self) -> tuple[socket.socket, Any] | None:
        try:
            accepted: tuple[socket.socket, Any] | None = super().accept()
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise
            if not sum(self.capacity.make_room() for _ in range(_FREED)):
                raise
            accepted = super().accept()
        return accepted

    def set_socket_options(self, conn: socket.socket) -> None:
        super().set_socket_options(conn)
        # The system would let its own buffer grow to megabytes, and unread responses would vanish in there.
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.limits.unsent)

    def accept_waiting(self) -> None:
        """Accept everyone who is connected as far as the system is concerned, but not those who come without end."""
        for _ in range(self.adj.backlog):
            self.handle_accept()
            if not self._others_wait:
                return

    def maintenance(self, now: float) -> None:
        """Do nothing: waitress calls it while it builds the poll set. A connection closed there would still be polled,
        and its error taken for that of a new one with the same number. `HttpServer.turn` enforces the deadlines."""


class TcpListener(Listener, TcpWSGIServer):
    """A listening TCP socket."""


class UnixListener(Listener, UnixWSGIServer):
    """A listening Unix socket."""
