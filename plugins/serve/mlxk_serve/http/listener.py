"""Accepting connections: who is accepted, and what happens when connections or file descriptors run out."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable
from typing import Any

from waitress.server import BaseWSGIServer, TcpWSGIServer, UnixWSGIServer

from mlxk_core.api.server import ApiError
from mlxk_serve.config import Limits
from mlxk_serve.http.channel import Channel
from mlxk_serve.http.errors import ErrorEncoders, error_body, status_line
from mlxk_serve.http.ids import id_headers, request_id
from mlxk_serve.http.parser import CheckAccess
from mlxk_serve.observability.log import LOGGER

OnRejected = Callable[[str, str, str, ApiError], None]
"""Called for every request that never reached the application: its id, method, path and error."""

_TOO_MANY = ApiError(503, "Too many open connections.", code="too_many_connections", headers={"retry-after": "1"})
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ACCEPTED_IN_A_TURN = 64
_PAUSE = 0.5
"""Seconds without accepting after the descriptors ran out: the poll would report the same connection without end."""


class Listener(BaseWSGIServer):
    """One listening socket."""

    channel_class = Channel
    check_access: CheckAccess
    limits: Limits
    errors: ErrorEncoders
    on_rejected: OnRejected
    _paused_until: float | None = None
    _accepted = False

    def readable(self) -> bool:
        if self._paused_until is not None and time.monotonic() < self._paused_until:
            return False
        return bool(super().readable())

    def handle_accept(self) -> None:
        """Accept those who wait, up to a number: one in each turn would be slower than clients connect, and a client
        for whom the system has no room tries again only after a second."""
        for _ in range(_ACCEPTED_IN_A_TURN):
            self._accepted = False
            self._accept_one()
            if not self._accepted:
                return

    def _accept_one(self) -> None:
        channels = []
        if len(self._map) >= self.limits.connections:
            channels = [c for c in list(self._map.values()) if isinstance(c, Channel)]
        if len(channels) >= self.limits.connections:
            idle = _longest_idle(channels)
            if idle is None:
                self._reject_connection()
                return
            super().handle_accept()
            if self._accepted:
                idle.handle_close()  # not before: its poll result would be taken for its successor's
            self._accepted = False  # nor may the next one get its number in this turn
            return
        super().handle_accept()

    def accept(self) -> tuple[socket.socket, Any] | None:
        try:
            accepted: tuple[socket.socket, Any] | None = super().accept()
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise
            if self._paused_until is None:
                LOGGER.error("cannot accept connections: %s. Close some, or raise `ulimit -n`.", error.strerror)
            self._paused_until = time.monotonic() + _PAUSE
            return None
        self._accepted = accepted is not None
        if accepted is not None and self._paused_until is not None:
            self._paused_until = None
            LOGGER.info("accepting connections again")
        return accepted

    @property
    def starved(self) -> bool:
        """Whether the last connection was not accepted because no file descriptor was free."""
        return self._paused_until is not None

    def set_socket_options(self, conn: socket.socket) -> None:
        super().set_socket_options(conn)
        # The system would let its own buffer grow to megabytes, and unread responses would vanish in there. Set here,
        # where waitress expects failures: macOS refuses the options of a socket whose client has disconnected.
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.limits.unsent)

    def accept_waiting(self) -> None:
        """Accept everyone who is connected as far as the system is concerned."""
        before = -1
        while before != len(self._map):
            before = len(self._map)
            self.handle_accept()

    def _reject_connection(self) -> None:
        with contextlib.suppress(OSError):
            accepted = self.accept()
            if accepted:
                id = request_id(None)
                self.on_rejected(id, "-", "-", _TOO_MANY)
                with accepted[0] as sock:
                    sock.send(_raw_response(_TOO_MANY, id))

    def maintenance(self, now: float) -> None:
        """Do nothing: waitress calls it while it builds the poll set. A connection closed there would still be polled,
        and its error taken for that of a new one with the same number. `HttpServer.turn` enforces the deadlines."""


class TcpListener(Listener, TcpWSGIServer):
    """A listening TCP socket."""


class UnixListener(Listener, UnixWSGIServer):
    """A listening Unix socket."""


def _longest_idle(channels: list[Channel]) -> Channel | None:
    return min((c for c in channels if not c.busy), key=lambda c: c.last_activity, default=None)


def _raw_response(error: ApiError, id: str) -> bytes:
    body = error_body(error.info)
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    headers |= {**id_headers(id), **error.headers}
    lines = [f"HTTP/1.1 {status_line(error.status)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
