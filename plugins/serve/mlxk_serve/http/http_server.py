"""The event loop: listening sockets, connections and worker threads of one server, on waitress."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments

from mlxk_serve.config import Limits
from mlxk_serve.http.byte_budget import ByteBudget
from mlxk_serve.http.capacity import Capacity
from mlxk_serve.http.client_ids import ClientIds
from mlxk_serve.http.connection import Connection
from mlxk_serve.http.dispatcher import Dispatcher
from mlxk_serve.http.errors import ErrorEncoders
from mlxk_serve.http.event_loop import EventLoop
from mlxk_serve.http.listener import Listener, OnRejected, TcpListener, UnixListener
from mlxk_serve.http.parser import CheckAccess
from mlxk_serve.http.turns import Turns

_DEADLINE_INTERVAL = 1.0
_JUST_CONNECTED = 0.25
"""Seconds in which a new connection may still be sending its first request: a 503 tells it more than a reset."""
_SUSPENDED = 15.0
"""A loop that did not turn for so many seconds was suspended (SIGSTOP, sleep): nothing is late because of that."""


class HttpServer:
    """Serves `application` on listening sockets. Call `turn` in a loop; only `wake` may be called by other threads."""

    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        sockets: Sequence[socket.socket],
        *,
        check_access: CheckAccess,
        errors: ErrorEncoders,
        on_rejected: OnRejected,
        limits: Limits,
        turns: Turns,
        client_ids: ClientIds,
        files: int | None = None,
        probes_at_once: bool = False,
    ) -> None:
        """`turns` are those of the loop and of all workers, `files` is the limit of file descriptors.

        With `probes_at_once`, `application` answers probes on the loop's thread. It must not wait for anything then.
        """
        self._closed = False
        self._checked = 0.0
        self._turned: float | None = None
        self.resumed_at = float("-inf")
        """When the process last resumed after it was suspended, in monotonic seconds."""
        self._sockets: dict[int, Any] = {}
        """Listeners, and what wakes the loop."""
        self._connections: dict[int, Connection] = {}
        self.capacity = Capacity(self._connections, limits, files)
        self._loop = EventLoop(self._sockets, self._connections, turns)
        self._dispatcher = Dispatcher(limits.threads, turns, client_ids)
        adjustments = Adjustments(
            threads=limits.threads,
            ident=None,
            backlog=max(128, 2 * limits.connections),
            recv_bytes=limits.receive,
            channel_request_lookahead=1,  # else a client that disconnects before the first byte is never noticed
            connection_limit=1 << 30,  # at waitress' own limit nothing is accepted, not even `/health`; see `Capacity`
            cleanup_interval=1,
            outbuf_high_watermark=limits.unsent,
            max_request_header_size=limits.header,
            max_request_body_size=limits.body + 1,
            clear_untrusted_proxy_headers=True,
        )
        bodies, unsent = ByteBudget(limits.bodies), ByteBudget(limits.unsent_bodies)
        unsent_in_files = ByteBudget(limits.unsent_files)
        self._listeners: list[Listener] = []
        for sock in sockets:
            kind = UnixListener if sock.family == getattr(socket, "AF_UNIX", None) else TcpListener
            listener = kind(
                application,
                map=self._sockets,
                _start=False,
                _sock=sock,
                dispatcher=self._dispatcher,
                adj=adjustments,
                sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
                bind_socket=False,
            )
            listener.check_access, listener.errors = check_access, errors
            listener.limits, listener.on_rejected = limits, on_rejected
            listener.probes_at_once = probes_at_once
            listener.connections = self._connections
            listener.capacity, listener.bodies = self.capacity, bodies
            listener.unsent, listener.unsent_in_files = unsent, unsent_in_files
            self._listeners.append(listener)

    def listen(self) -> None:
        """Accept connections from now on."""
        for listener in self._listeners:
            listener.accept_connections()

    def turn(self, timeout: float) -> None:
        """Wait for events for at most `timeout` seconds and handle them."""
        now = time.monotonic()
        if self._turned is not None and now - self._turned > _SUSPENDED:
            self.resumed_at = now
        self._turned = now
        if now - self._checked >= _DEADLINE_INTERVAL:
            self._checked = now
            for connection in self.connections:
                connection.enforce_deadlines(now)
        self.capacity.begin_turn()
        self._loop.turn(timeout)

    def wake(self) -> None:
        """End a `turn` that waits. From any thread, and from a signal handler."""
        if not self._closed:
            self._listeners[0].pull_trigger()

    def stop_listening(self) -> None:
        """Refuse new connections from now on. Those that the system has accepted already are kept: closing the socket
        would reset them."""
        for listener in self._listeners:
            listener.accept_waiting()
            listener.accepting = False
            # Not the listener's own close(): it closes the trigger, to which workers still write.
            wasyncore.dispatcher.close(listener)

    def close_idle(self) -> None:
        """Close idle connections and enforce the deadlines of the others. Call `turn` before, so that what clients have
        sent by now is read."""
        now = time.monotonic()
        for connection in self.connections:
            if not connection.busy and now - connection.last_activity > _JUST_CONNECTED:
                connection.handle_close()
            else:
                connection.enforce_deadlines(now)

    @property
    def connections(self) -> list[Connection]:
        """Return the open connections."""
        return self.capacity.connections

    def close(self, timeout: float) -> None:
        """Close every connection and end the workers, for which it waits `timeout` seconds."""
        self._closed = True
        for connection in self.connections:
            connection.handle_close()
        self._dispatcher.shutdown(timeout)
        if self._dispatcher.running:
            return  # a worker that hangs may still write to a trigger, whose descriptor could be someone else's by then
        for listener in self._listeners:
            listener.trigger.close()
        wasyncore.close_all(self._sockets)
