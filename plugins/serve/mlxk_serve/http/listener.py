"""Accepting connections: who is accepted, and what happens when connections or file descriptors run out."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from typing import Any

from waitress.server import BaseWSGIServer, TcpWSGIServer, UnixWSGIServer

from mlxk_core.api.server import ApiError
from mlxk_serve.config import Limits
from mlxk_serve.http.byte_budget import ByteBudget
from mlxk_serve.http.capacity import Capacity
from mlxk_serve.http.channel import Channel
from mlxk_serve.http.errors import ErrorEncoders
from mlxk_serve.http.parser import CheckAccess
from mlxk_serve.observability.log import LOGGER

OnRejected = Callable[[str, str, str, ApiError], None]
"""Called for every request that never reached the application: its id, method, path and error."""

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ACCEPTED_IN_A_TURN = 512
_ACCEPTING = 0.03
"""Seconds of a turn for accepting: a busy machine accepts fewer."""
_FREED = 8
"""Connections closed when the descriptors run out: something else needs them too."""
_PAUSE = 0.5
"""Seconds without accepting after the descriptors ran out: the poll would report the same connection without end."""


class Listener(BaseWSGIServer):
    """One listening socket."""

    channel_class = Channel
    check_access: CheckAccess
    limits: Limits
    errors: ErrorEncoders
    on_rejected: OnRejected
    capacity: Capacity
    bodies: ByteBudget
    unsent: ByteBudget
    _paused_until: float | None = None
    _accepted = False

    def readable(self) -> bool:
        if self._paused_until is not None and time.monotonic() < self._paused_until:
            return False
        return bool(super().readable())

    def handle_accept(self) -> None:
        """Accept those who wait, up to a number: one in each turn would be slower than clients connect, and a client
        for whom the system has no room tries again only after a second."""
        end = time.monotonic() + _ACCEPTING
        for _ in range(min(_ACCEPTED_IN_A_TURN, max(1, self.capacity.limit // 4))):  # none is closed unread
            self._accepted = False
            super().handle_accept()
            if not self._accepted or time.monotonic() > end:
                return

    def accept(self) -> tuple[socket.socket, Any] | None:
        """Accept one connection if there is a place for it. The system keeps the others until there is one."""
        accepted = self._accept_or_pause() if self.capacity.reserve() else None
        self._accepted = accepted is not None
        if accepted is not None:
            self.capacity.admit()
        return accepted

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
        # The system would let its own buffer grow to megabytes, and unread responses would vanish in there. Set here,
        # where waitress expects failures: macOS refuses the options of a socket whose client has disconnected.
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.limits.unsent)

    def accept_waiting(self) -> None:
        """Accept everyone who is connected as far as the system is concerned, but not those who come without end."""
        for _ in range(self.adj.backlog):
            self.handle_accept()
            if not self._accepted:
                return

    def maintenance(self, now: float) -> None:
        """Do nothing: waitress calls it while it builds the poll set. A connection closed there would still be polled,
        and its error taken for that of a new one with the same number. `HttpServer.turn` enforces the deadlines."""


class TcpListener(Listener, TcpWSGIServer):
    """A listening TCP socket."""


class UnixListener(Listener, UnixWSGIServer):
    """A listening Unix socket."""
