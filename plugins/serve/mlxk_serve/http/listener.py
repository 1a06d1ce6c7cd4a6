"""Accepting connections: who is accepted, and what happens when connections or file descriptors run out."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.server import BaseWSGIServer, TcpWSGIServer, UnixWSGIServer

from mlxk_core.api.server import ApiError
from mlxk_serve.config import Limits
from mlxk_serve.http.byte_budget import ByteBudget
from mlxk_serve.http.capacity import Capacity
from mlxk_serve.http.channel import TOO_MANY, Channel
from mlxk_serve.http.errors import ErrorEncoders, error_body, status_line
from mlxk_serve.http.new_connection import NewConnection
from mlxk_serve.http.parser import CheckAccess
from mlxk_serve.http.probe_responses import ProbeResponses
from mlxk_serve.observability.log import LOGGER

OnRejected = Callable[[str, str, str, ApiError], None]
"""Called for every request that never reached the application: its id, method, path and error."""

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_LAST_ACCEPTING = 1.0
"""Seconds for accepting those who are connected as far as the system is concerned when the server ends."""
_FREED = 8
"""Connections closed when the descriptors run out: something else needs them too."""
_PAUSE, _RECOVERED = 0.5, 10.0
"""Seconds without accepting after the descriptors ran out: the poll would report the same connection without end; and
those without a further pause after which the log says that this is over."""


def _rejection() -> bytes:
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
    connections: dict[int, Any]
    bodies: ByteBudget
    unsent: ByteBudget
    unsent_in_files: ByteBudget
    probes_at_once: bool
    """Whether the application answers probes without waiting for anything."""
    _paused_until: float | None = None
    _pauses = 0
    _behind_until = _probe_time = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.rejection = _rejection()
        """The response to a request that is not read."""
        self._probe_responses = ProbeResponses()

    def readable(self) -> bool:
        if self._paused_until is not None:
            since = time.monotonic() - self._paused_until
            if since < 0:
                return False
            if since > _RECOVERED:
                self._paused_until = None
                LOGGER.info("accepting connections again (paused %d times)", self._pauses)
        return bool(super().readable())

    def handle_accept(self) -> None:
        if self._accept_some():
            self._behind_until = time.monotonic() + self.limits.behind_time

    def _accept_some(self) -> bool:
        """Accept those who wait, for some time: one in each turn would be slower than clients connect, and a client
        for whom the system has no room tries again only after a second. Return whether there are more."""
        end = time.monotonic() + self.limits.accept_time
        self._probe_time = self.limits.probe_time
        while self.capacity.reserve():  # the system keeps those for whom there is no place
            try:
                accepted = self._accept_or_pause()
            except OSError as error:  # such as ENETDOWN: of one connection, not of the listener
                LOGGER.debug("a connection was not accepted: %s", error.strerror)
            else:
                if accepted is None:
                    return False
                self._open(*accepted)
            if time.monotonic() >= end:
                break
        poll = select.poll()  # the time may be over because the process had to wait, and not because many connect
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    @property
    def behind(self) -> bool:
        """Whether more clients have connected of late than there was time to accept."""
        return time.monotonic() < self._behind_until

    def _open(self, sock: socket.socket, address: Any) -> None:
        new = NewConnection(self, sock, self.fix_addr(address))
        if new.ended:  # a flood of these is cheap, and costs no other connection its place
            new.handle_close()
        elif not self.respond_unread(new, room=self.capacity.admit()):
            if new.probing and self._has_time(new):  # it need not wait for others
                began = time.monotonic()
                self.receive(new)
                self._probe_time -= time.monotonic() - began
            else:
                new.open()

    def _has_time(self, probe: NewConnection) -> bool:
        """Whether there is time to read a probe now: a supervisor sends the same one again and again, and is not held
        up by a flood of different ones."""
        return not self.behind or self._probe_time > 0 or (probe.start or b"") in self._probe_responses

    def respond_unread(self, new: NewConnection, *, room: bool) -> bool:
        """Answer a request if there is no time to read it, and return whether that is so: a probe like the same one a
        moment ago, all others with an error if there is no `room` for them either."""
        if not (self.behind and new.start):
            return False
        response = self._probe_responses.of(new.start) if new.probing else None
        if response is None:
            if room or (new.probing and self._has_time(new)):
                return False
            response = self.rejection
            self.capacity.count_closed()
        new.respond(response)
        return True

    def receive(self, new: NewConnection) -> None:
        """Receive the first bytes of a connection."""
        start, probing, sock = new.start or b"", new.probing, new.detach()
        try:
            self.set_socket_options(sock)
        except OSError:  # macOS refuses the options of a socket whose client has disconnected
            sock.close()
            return
        channel = Channel(self, sock, new.address, self.adj, map=self.connections)
        if not probing:
            wasyncore.readwrite(channel, select.POLLIN)
            return
        channel.closes = self.behind
        wasyncore.readwrite(channel, select.POLLIN)
        self._probe_responses.keep(start, channel.last_response)

    def _accept_or_pause(self) -> tuple[socket.socket, Any] | None:
        accepted: tuple[socket.socket, Any] | None
        try:
            accepted = self._accept_or_make_room()
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise
            if self._paused_until is None:
                self._pauses = 0
                LOGGER.error("cannot accept connections: %s. Close some, or raise `ulimit -n`.", error.strerror)
            self._pauses += 1
            self._paused_until = time.monotonic() + _PAUSE
            return None
        return accepted

    def _accept_or_make_room(self) -> tuple[socket.socket, Any] | None:
        try:
            accepted: tuple[socket.socket, Any] | None = self.accept()
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise
            if not sum(self.capacity.make_room() for _ in range(_FREED)):
                raise
            accepted = self.accept()
        return accepted

    def set_socket_options(self, conn: socket.socket) -> None:
        super().set_socket_options(conn)
        # The system would let its own buffer grow to megabytes, and unread responses would vanish in there.
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.limits.unsent)

    def accept_waiting(self) -> None:
        """Accept everyone who is connected as far as the system is concerned, but not those who come without end."""
        end = time.monotonic() + _LAST_ACCEPTING
        while self._accept_some() and time.monotonic() < end:
            pass

    def maintenance(self, now: float) -> None:
        """Do nothing: waitress calls it while it builds the poll set. A connection closed there would still be polled,
        and its error taken for that of a new one with the same number. `HttpServer.turn` enforces the deadlines."""


class TcpListener(Listener, TcpWSGIServer):
    """A listening TCP socket."""


class UnixListener(Listener, UnixWSGIServer):
    """A listening Unix socket."""
