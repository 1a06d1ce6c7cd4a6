"""Connections: disconnect callbacks, deadlines, detached responses, and error responses that are read to their end."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from waitress import wasyncore
from waitress.adjustments import Adjustments

from mlxk_core.api.server import ApiError
from mlxk_serve.config import Limits
from mlxk_serve.http.byte_budget import ByteBudget, Share
from mlxk_serve.http.connection import HANGUP, POLL_MISSES_DISCONNECTS, Connection
from mlxk_serve.http.dispatcher import PROBES
from mlxk_serve.http.parser import CheckAccess, Parser
from mlxk_serve.http.response_writer import ResponseWriter
from mlxk_serve.http.sending_channel import SendingChannel
from mlxk_serve.http.tasks import Detached, JsonErrorTask, Task

_SLOW_AFTER, _SLOW = 4, 1000.0
"""Reads after which a request that comes in at fewer bytes a second may be closed to make room for others, and one
whose header is not complete, or that is cut into small chunks."""
TOO_MANY = ApiError(503, "Too many open connections.", code="too_many_connections", headers={"retry-after": "1"})


class Places(Protocol):
    """Interface of the places for connections (`mlxk_serve.http.capacity.Capacity`)."""

    @property
    def exceeded(self) -> bool: ...

    def reclaim(self) -> bool: ...


class ConnectionOwner(Protocol):
    """Interface of the listener that accepted a connection (`mlxk_serve.http.listener.Listener`)."""

    check_access: CheckAccess
    limits: Limits
    capacity: Places
    bodies: ByteBudget
    unsent: ByteBudget
    unsent_in_files: ByteBudget
    probes_at_once: bool


class Channel(SendingChannel, Connection):
    """A connection whose client has sent something."""

    close_when_flushed: bool
    error_task_class = JsonErrorTask

    def __init__(
        self, server: ConnectionOwner, sock: socket.socket, addr: Any, adj: Adjustments, map: Any = None
    ) -> None:
        Connection.__init__(self)
        self._limits = server.limits
        self.unparsed: list[bytes] = []
        """What was received after the last request that was parsed."""
        self._began = time.monotonic()
        self._requested = False
        self._receiving_since: float | None = None
        self._unoccupied = self._at_once = False
        self._reads = self._received_bytes = 0
        self._disconnect_lock = threading.Lock()
        self._disconnect_callback: Callable[[], None] | None = None
        self.closes = False
        """Whether the connection is closed after the first response."""
        self.last_response: bytes | None = None
        """The response after which the connection was closed, if all of it was sent at once."""
        self._lingers = False
        self._discard_until: float | None = None
        self._completed_task: Task | None = None
        SendingChannel.__init__(self, server, sock, addr, adj, map=map)
        # No methods of the connection here: parsers would keep it, and with it their own files, until a collection.
        self._surplus, self._probes_at_once = server.capacity.exceeded, server.probes_at_once
        check = partial(_check_surplus, server) if self._surplus else server.check_access
        self._bodies = server.bodies
        self._parser = partial(Parser, check_access=check, unparsed=self.unparsed, free_body=server.limits.free_body)

    @property
    def busy(self) -> bool:
        return bool(self.requests or self.total_outbufs_len or self.close_when_flushed or self.unparsed)

    @property
    def lingering(self) -> bool:
        return self._discard_until is not None

    @property
    def first(self) -> bool:
        """Whether no request was complete before the one that is being received."""
        return not self._requested

    @property
    def spared_since(self) -> tuple[int, float] | None:
        if self._discard_until is not None:
            return 0, self._discard_until
        if self.quiet and self.total_outbufs_len and time.monotonic() - self.last_activity > self._limits.unread_time:
            return 3, self.last_activity
        if self.busy:
            return None
        if not self.quiet:
            return self._slow_since
        if self.request is not None:
            return 1, self.request.began
        return (0, self.last_activity) if self._requested else (1, self._began)

    @property
    def _slow_since(self) -> tuple[int, float] | None:
        since, request = self._receiving_since, self.request
        if since is None:
            return None
        slow = self._reads >= _SLOW_AFTER and (
            request is None or request.sparse or self._received_bytes < _SLOW * (time.monotonic() - since)
        )
        # The spare places are for requests that come in one piece, as probes do.
        in_pieces = self._surplus and (request is None or not request.headers_finished or request.path in PROBES)
        return (2, since) if slow or in_pieces else None

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
        SendingChannel.handle_close(self)
        self._notify_disconnect()  # a callback that was set in between

    def _notify_disconnect(self) -> None:
        with self._disconnect_lock:
            callback, self._disconnect_callback = self._disconnect_callback, None
        if callback is not None:
            callback()

    def handle(self, flags: int) -> None:
        if flags & HANGUP and not flags & (select.POLLIN | select.POLLOUT):
            self.handle_close()
        else:
            wasyncore.readwrite(self, flags)

    # Requests and responses.

    def received(self, data: bytes) -> bool:
        """Parse `data` up to the end of one request. The rest waits in `unparsed` until there is room for the next:
        a client that pipelines hundreds of requests costs little memory, and no other client waits for it."""
        if self.request is None:
            data = data.lstrip()  # waitress would make a request of every blank line
            if not data:
                self._last_activity = self._activity_before  # blank lines do not keep a connection open
        # None meanwhile: a request is not closed to make room for itself.
        since, self._receiving_since = self._receiving_since or time.monotonic(), None
        self._reads += 1
        self._received_bytes += len(data)
        self._unoccupied = not self.requests  # workers add none: if one is complete now, no other is running
        accepted = bool(super().received(data))
        if data and self.request is None:  # it is complete
            self._requested = True
            self._reads = self._received_bytes = 0
            if self._at_once:
                self._at_once = False
                self._respond_at_once()
        else:
            self._receiving_since = since
        return accepted

    def keep(self) -> bool:
        """Return whether the loop's thread answers the next request, which needs no worker then: a probe costs less
        than to hand it over, and with an error above the limit a spare place is free again, however busy the workers
        are. This does not block: all that was sent before is with the system."""
        if self._unoccupied and not self.total_outbufs_len:
            request = self.requests[0]
            self._at_once = self._surplus if request.error is not None else self._probes_at_once and request.probing
        return self._at_once

    def _respond_at_once(self) -> None:
        with self.recorded() as sent:
            self.service()
        if self.close_when_flushed and not self.total_outbufs_len:
            self.last_response = bytes(sent)
        self.handle_write()

    def task_class(self, channel: Channel, request: Any) -> Task:
        completed = self._completed_task
        if completed is not None and completed.request is request:
            return completed
        pipelined = bool(self.unparsed) or len(self.requests) > 1
        if (
            self._surplus or self.closes or (pipelined and self.server.capacity.exceeded)
        ):  # one request only: others need the place
            request.headers["CONNECTION"] = "close"
            self._lingers = pipelined
        return Task(channel, request)

    def service(self) -> None:
        self._lingers = self.requests[0].error is not None
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

    def parser_class(self, adj: Adjustments) -> Parser:
        return self._parser(adj, share=Share(self._bodies))

    # A client whose connection is closed while it still sends would lose the response to a reset: its bytes are read
    # and discarded for a while first.

    def handle_write(self) -> None:
        if not (self._lingers and self.close_when_flushed):
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

    @property
    def interest(self) -> int:
        """Return the poll events that the connection waits for: what `readable` and `writable` say, at a third of the
        cost. A connection whose next requests must wait is polled for the disconnect of its client only."""
        if self._discard_until is not None:
            return select.POLLIN
        if self.total_outbufs_len or self.will_close or self.close_when_flushed:
            return select.POLLOUT
        if self.unparsed or len(self.requests) > self.adj.channel_request_lookahead:
            return HANGUP
        return select.POLLIN

    @property
    def parsable(self) -> bool:
        return bool(self.unparsed) and self._discard_until is None and bool(super().readable())

    def handle_read(self) -> None:
        if self._discard_until is not None:
            try:
                self.recv(self.adj.recv_bytes)
            except OSError:
                self.handle_close()
        elif self.unparsed:
            self.received(self.unparsed.pop())
        else:
            super().handle_read()

    def recv(self, buffer_size: int) -> bytes:
        """Receive at most `buffer_size` bytes; fewer where parsing is slow, of headers and of chunks."""
        request = self.request
        slow = request is None or not request.headers_finished or request.chunked
        data: bytes = super().recv(min(buffer_size, self._limits.receive_slow) if slow else buffer_size)
        return data

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
            late = POLL_MISSES_DISCONNECTS and self._disconnected_unpolled()
            if receiving is not None:  # the next request, or the blank line that some clients send after a body
                receiving.began = now
        elif receiving is not None:
            late = now - receiving.began > (limits.body_time if receiving.headers_finished else limits.header_time)
        else:
            late = now - self.last_activity > limits.idle_time
        if late:
            self.handle_close()

    def _disconnected_unpolled(self) -> bool:
        """Whether the client disconnected unnoticed while complete requests wait after the current one."""
        sock = self.socket  # None if a worker has closed the connection meanwhile
        if sock is None or self.interest != HANGUP:
            return False
        try:
            return not sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True


def _check_surplus(server: ConnectionOwner, method: str, path: str, headers: Mapping[str, str]) -> None:
    if path not in PROBES and not server.capacity.reclaim():
        raise TOO_MANY.with_traceback(None)  # else it keeps the frames, and with them the requests, of all before
    server.check_access(method, path, headers)
