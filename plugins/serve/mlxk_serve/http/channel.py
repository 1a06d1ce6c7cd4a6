"""Connections: disconnect callbacks, deadlines, detached responses, and error responses that are read to their end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel

from mlxk_serve.config import Limits
from mlxk_serve.http.parser import CheckAccess, Parser
from mlxk_serve.http.response_writer import ResponseWriter
from mlxk_serve.http.tasks import Detached, JsonErrorTask, Task


class ConnectionOwner(Protocol):
    """Interface of the listener that accepted a connection (`mlxk_serve.http.listener.Listener`)."""

    check_access: CheckAccess
    limits: Limits


class Channel(HTTPChannel):
    """A connection. All times are monotonic: a clock change closes no connection."""

    close_when_flushed: bool
    error_task_class = JsonErrorTask
    _last_activity = 0.0

    def __init__(
        self, server: ConnectionOwner, sock: socket.socket, addr: Any, adj: Adjustments, map: Any = None
    ) -> None:
        self.parser_class = partial(Parser, check_access=server.check_access)
        self._limits = server.limits
        self._disconnect_lock = threading.Lock()
        self._socket_lock = threading.Lock()
        self._closed = False
        self._disconnect_callback: Callable[[], None] | None = None
        self._rejected = False
        self._discard_until: float | None = None
        self._completed_task: Task | None = None
        super().__init__(server, sock, addr, adj, map=map)

    @property
    def last_activity(self) -> float:
        """Monotonic seconds. waitress assigns wall-clock time, which is replaced here."""
        return self._last_activity

    @last_activity.setter
    def last_activity(self, wall_clock: float) -> None:
        self._activity_before, self._last_activity = self._last_activity, time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether a request is being processed or a response is on its way out."""
        return bool(self.requests or self.total_outbufs_len or self.close_when_flushed)

    # Disconnects.

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` from the loop's thread when the client disconnects; at once if it already has."""
        with self._disconnect_lock:
            self._disconnect_callback = callback
            disconnected = not self.connected
        if disconnected:
            self._notify_disconnect()

    def handle_close(self) -> None:
        self._notify_disconnect()  # before closing wakes a thread that waits to write: it must know why
        with self._socket_lock:
            self._closed = True
        super().handle_close()
        self._notify_disconnect()  # a callback that was set in between

    def _notify_disconnect(self) -> None:
        with self._disconnect_lock:
            callback, self._disconnect_callback = self._disconnect_callback, None
        if callback is not None:
            callback()

    # Requests and responses.

    def received(self, data: bytes) -> bool:
        if self.request is None:
            data = data.lstrip(b"\r\n")  # waitress would make a request of every blank line
            if not data:
                self._last_activity = self._activity_before  # blank lines do not keep a connection open
        return bool(super().received(data))

    def task_class(self, channel: Channel, request: Any) -> Task:
        completed = self._completed_task
        return completed if completed is not None and completed.request is request else Task(channel, request)

    def service(self) -> None:
        self._rejected = self.requests[0].error is not None
        try:
            super().service()
        except Detached as detached:
            assert detached.task is not None
            detached.response.attach(ResponseWriter(self, detached.task))

    def complete(self, task: Task) -> None:
        """Run waitress' end of a request for a response that was written elsewhere."""
        self._completed_task = task
        try:
            super().service()
        finally:
            self._completed_task = None

    def write_soon(self, data: Any) -> Any:
        """Send `data`; at once if nothing is waiting, since waitress' buffers cost more than the system call."""
        if not self.total_outbufs_len:
            self._last_activity = time.monotonic()  # a client that had nothing to read until now was not slow
            if type(data) is bytes and (sent := self._send_now(data)):
                if sent < len(data):
                    super().write_soon(data[sent:])
                return len(data)
        return super().write_soon(data)

    def _send_now(self, data: bytes) -> int:
        """Return the number of bytes sent; 0 if there is an error, which waitress will meet again.

        Only one thread writes a response, so nothing can be put before `data`. The lock keeps the descriptor from being
        closed, and given to another connection, meanwhile; it costs less than the condition that guards the buffers.
        """
        with self._socket_lock:
            if self.total_outbufs_len or self._closed:
                return 0
            try:
                return self.socket.send(data)
            except OSError:
                return 0

    # A client that is rejected while it still sends would lose the response to a reset: its bytes are read and
    # discarded for a while first.

    def handle_write(self) -> None:
        if not (self._rejected and self.close_when_flushed):
            super().handle_write()
            return
        if self.total_outbufs_len:
            self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif not self.total_outbufs_len and self.connected:
            self.close_when_flushed = False
            self._discard_until = time.monotonic() + self._limits.linger_time
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def readable(self) -> bool:
        return self._discard_until is not None or bool(super().readable())

    def writable(self) -> bool:
        return self._discard_until is None and bool(super().writable())

    def handle_read(self) -> None:
        if self._discard_until is None:
            super().handle_read()
            return
        try:
            self.recv(self.adj.recv_bytes)
        except OSError:
            self.handle_close()

    # Deadlines.

    def enforce_deadlines(self, now: float) -> None:
        """Close the connection if the client takes too long; `will_close` would wait until the socket takes more."""
        limits, receiving = self._limits, self.request
        processing = bool(self.requests)  # read first: a worker writes a response before it removes the request
        if self._discard_until is not None:
            late = now > self._discard_until
        elif self.total_outbufs_len:
            late = now - self.last_activity > limits.stalled_time
        elif processing:
            late = self._disconnected_unpolled()
            if receiving is not None:  # the next request, or the blank line that some clients send after a body
                receiving.began = now
        elif receiving is not None:
            late = now - receiving.began > (limits.body_time if receiving.headers_finished else limits.header_time)
        else:
            late = now - self.last_activity > limits.idle_time
        if late:
            self.handle_close()

    def _disconnected_unpolled(self) -> bool:
        """Whether the client disconnected unnoticed: waitress does not poll a connection while a complete request waits
        after the current one."""
        if self.readable():
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
