"""waitress, with its traps closed: the sockets, the worker threads and the loop of one server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import BaseWSGIServer, TcpWSGIServer, UnixWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from mlxk_serve.config import Limits
from mlxk_serve.http.errors import ApiError
from mlxk_serve.http.ids import request_id

ON_DISCONNECT = "mlxk.on_disconnect"
"""The environ's key of a function that takes what to call when the client leaves (None: nothing any more)."""

Guard = Callable[[str, str, Mapping[str, str]], None]
"""Judges a request by method, path and headers, before its body is read; raises an `ApiError`."""

Refused = Callable[[str, str, str, ApiError], None]
"""Told of every request that never reached the application: its id, method, path, and why."""

_ONCE_ONLY = (b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-api-key", b"origin")
_PROTOCOL_ERRORS = {
    400: ApiError(400, "The request is not HTTP as this server reads it.", code="bad_request"),
    413: ApiError(413, "The body is too large for this server.", code="body_too_large"),
    431: ApiError(431, "The request's headers are too large for this server.", code="headers_too_large"),
    501: ApiError(501, "This transfer encoding is not supported; chunked is.", code="not_implemented"),
}
_JUST_NOW = 0.25
"""A client that connected so many seconds ago may still be sending its request, and hears better a 503 than a reset."""
_TEND_INTERVAL = 1.0
_INTERNAL = ApiError(500, "The server failed on this request.", code="internal_error")
_FULL = ApiError(503, "Too many connections are open.", code="too_many_connections", headers={"retry-after": "1"})


class Parser(HTTPRequestParser):
    """A request as it comes in. What two servers could read in two ways is refused, and so is whom the guard refuses:
    both before the body is read."""

    def __init__(self, adj: Adjustments, guard: Guard) -> None:
        super().__init__(adj)
        self.began = time.time()
        self._guard = guard

    def received(self, data: bytes) -> int:
        taken: int = super().received(data)
        if self.error:
            self.expect_continue = False  # else waitress asks for the body that was just refused
        return taken

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.header_bytes_received >= self.adj.max_request_header_size:
            return  # waitress parses a made-up request line to answer 431
        try:
            self._unambiguous(header_plus)
            self._guard(self.command, self.path, self.headers)
        except ApiError as refusal:
            raise ParsingError(refusal) from None

    def _unambiguous(self, header_plus: bytes) -> None:
        """waitress 3.0.2 takes these (its issues #464, #465, #484, #488); a proxy in front may read them otherwise."""
        if self.version not in ("1.0", "1.1"):
            raise ApiError(400, "Only HTTP/1.0 and HTTP/1.1 are spoken here.", code="bad_request")
        lines = header_plus.split(b"\r\n")[1:]
        if any(line[:1] in (b" ", b"\t") for line in lines):
            raise ApiError(400, "A header is folded over several lines.", code="bad_request")
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        count = Counter(name for name, _ in fields)
        for name in _ONCE_ONLY:
            if count[name] > 1:
                raise ApiError(400, f"The header {name.decode()} is there twice.", code="bad_request")
        if count[b"transfer-encoding"]:
            encoding = dict(fields)[b"transfer-encoding"]
            if count[b"content-length"] or self.version == "1.0" or encoding.lower() != b"chunked":
                raise ApiError(400, "The length of the body is not clear.", code="bad_request")


class JsonErrorTask(ErrorTask):
    """An answer to what never reached the application, in the shape of all other errors."""

    def execute(self) -> None:
        refusal = self.request.error.body
        if not isinstance(refusal, ApiError):
            refusal = _PROTOCOL_ERRORS.get(self.request.error.code, _INTERNAL)
        self.status = _status_line(refusal.status)
        body, id = refusal.body(), request_id(self.request.headers.get("X_REQUEST_ID"))
        headers = {"content-type": "application/json", "x-request-id": id, **refusal.headers}
        self.response_headers.extend(headers.items())
        self.set_close_on_finish()
        self.content_length = len(body)
        method = getattr(self.request, "command", "-")  # what is no HTTP has none
        self.channel.server.refused(id, method, getattr(self.request, "path", "-"), refusal)
        self.write(b"" if method == "HEAD" else body)


class Task(WSGITask):
    """A request for the application, which may ask to be told when the client leaves."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[ON_DISCONNECT] = self.channel.on_disconnect
        return environ

    def execute(self) -> None:
        try:
            super().execute()
        except Exception:
            raise
        except BaseException as error:  # a plugin's `sys.exit()`: waitress would leave the client without an answer
            raise RuntimeError(f"{type(error).__name__}: {error}") from error


class Channel(HTTPChannel):
    """A connection. It tells at once when the client leaves, has deadlines, and lets a refused client read why."""

    close_when_flushed: bool
    task_class = Task
    error_task_class = JsonErrorTask

    def __init__(self, server: _Listener, sock: socket.socket, addr: Any, adj: Adjustments, map: Any = None) -> None:
        self.parser_class = partial(Parser, guard=server.guard)
        self._limits = server.limits
        self._watch_lock = threading.Lock()
        self._when_left: Callable[[], None] | None = None
        self._refused = False
        self._discards_until: float | None = None
        super().__init__(server, sock, addr, adj, map=map)

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or an answer is on its way out."""
        return bool(self.requests or self.total_outbufs_len or self.close_when_flushed)

    def on_disconnect(self, call: Callable[[], None] | None) -> None:
        """`call`, from the loop's thread, when the client leaves; at once if it has left already."""
        with self._watch_lock:
            self._when_left = call
            left = not self.connected
        if left:
            self._tell_left()

    def handle_close(self) -> None:
        self._tell_left()  # before closing wakes a worker that waits to write: it ends the answer, and must know why
        super().handle_close()
        self._tell_left()  # who began to watch in between

    def _tell_left(self) -> None:
        with self._watch_lock:
            call, self._when_left = self._when_left, None
        if call is not None:
            call()

    def write_soon(self, data: Any) -> Any:
        if not self.total_outbufs_len:
            self.last_activity = time.time()  # who had nothing to read until now has not kept us waiting
        return super().write_soon(data)

    def service(self) -> None:
        self._refused = self.requests[0].error is not None
        super().service()

    # A client that is refused while it still sends would lose the answer to a reset: its bytes are read and thrown
    # away for a while first.

    def handle_write(self) -> None:
        if not (self._refused and self.close_when_flushed):
            super().handle_write()
            return
        if self.total_outbufs_len:
            self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif not self.total_outbufs_len and self.connected:
            self.close_when_flushed = False
            self._discards_until = time.time() + self._limits.linger_time
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def readable(self) -> bool:
        return self._discards_until is not None or super().readable()

    def writable(self) -> bool:
        return self._discards_until is None and bool(super().writable())

    def handle_read(self) -> None:
        if self._discards_until is None:
            super().handle_read()
            return
        try:
            self.recv(self.adj.recv_bytes)
        except OSError:
            self.handle_close()

    def tend(self, now: float) -> None:
        """Closes the connection if it keeps us waiting. `will_close` would wait for a socket that takes no more."""
        limits, receiving = self._limits, self.request
        answering = bool(self.requests)  # looked at first: a worker writes an answer before it takes the request away
        if self._discards_until is not None:
            late = now > self._discards_until
        elif self.total_outbufs_len:
            late = now - self.last_activity > limits.stalled_time
        elif answering:
            late = self._left_unheard()
            if receiving is not None:  # the next request, or the empty line that some clients send behind a body
                receiving.began = now
        elif receiving is not None:
            late = now - receiving.began > (limits.body_time if receiving.headers_finished else limits.header_time)
        else:
            late = now - self.last_activity > limits.idle_time
        if late:
            self.handle_close()

    def _left_unheard(self) -> bool:
        """Whether the client left while nobody listens: once a whole request waits behind the one that is answered,
        waitress does not poll the connection any more."""
        if self.readable():
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True


class _Listener(BaseWSGIServer):
    """One listening socket."""

    channel_class = Channel
    guard: Guard
    limits: Limits
    refused: Refused

    def handle_accept(self) -> None:
        channels = [c for c in list(self._map.values()) if isinstance(c, Channel)]
        if len(channels) >= self.limits.connections:
            idle = min((c for c in channels if not c.busy), key=lambda c: c.last_activity, default=None)
            if idle is None:
                self._turn_away()
                return
            super().handle_accept()
            idle.handle_close()  # and not before: what the poll has seen of it would be taken for its successor's
            return
        super().handle_accept()

    def set_socket_options(self, conn: socket.socket) -> None:
        super().set_socket_options(conn)
        # The system would let its own buffer grow to megabytes: an answer that nobody reads would vanish in there.
        # Set here, where waitress expects a failure: macOS refuses the options of a socket whose client has left. In
        # the channel it would close the listener.
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.limits.unsent)

    def accept_waiting(self) -> None:
        """Lets in everybody who is connected as far as the system is concerned."""
        before = -1
        while before != len(self._map):
            before = len(self._map)
            self.handle_accept()

    def _turn_away(self) -> None:
        with contextlib.suppress(OSError):
            accepted = self.accept()
            if accepted:
                id = request_id(None)
                self.refused(id, "-", "-", _FULL)
                with accepted[0] as sock:
                    sock.send(_raw_response(_FULL, id))

    def maintenance(self, now: float) -> None:
        """Nothing: it is called while the poll is put together. A connection closed there is polled all the same, and
        the error is taken for one of the client that was just let in under its number. `HttpServer.turn` sees to it."""


class _TcpListener(_Listener, TcpWSGIServer):
    pass


class _UnixListener(_Listener, UnixWSGIServer):
    pass


class HttpServer:
    """Serves `application` on listening sockets. `turn` in a loop from one thread; everything else from that thread,
    but for `wake`."""

    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        sockets: Sequence[socket.socket],
        *,
        guard: Guard,
        refused: Refused,
        threads: int,
        limits: Limits,
    ) -> None:
        self._closed = False
        self._tended = 0.0
        self._map: dict[int, Any] = {}
        self._dispatcher = ThreadedTaskDispatcher()
        adjustments = Adjustments(
            threads=threads,
            ident=None,
            backlog=128,
            recv_bytes=256 << 10,
            channel_request_lookahead=1,  # else a client that leaves before the first byte is never noticed
            connection_limit=1 << 30,  # at waitress' own limit nothing is accepted, `/health` included; see `_Listener`
            cleanup_interval=1,
            outbuf_high_watermark=limits.unsent,
            max_request_header_size=limits.header,
            max_request_body_size=limits.body + 1,
            clear_untrusted_proxy_headers=True,
            asyncore_use_poll=True,  # select() ends the server at descriptor 1024
        )
        self._listeners: list[_Listener] = []
        for sock in sockets:
            kind = _UnixListener if sock.family == getattr(socket, "AF_UNIX", None) else _TcpListener
            listener = kind(
                application,
                map=self._map,
                _start=False,
                _sock=sock,
                dispatcher=self._dispatcher,
                adj=adjustments,
                sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
                bind_socket=False,
            )
            listener.guard, listener.limits, listener.refused = guard, limits, refused
            self._listeners.append(listener)
        self._dispatcher.set_thread_count(threads)

    def listen(self) -> None:
        """From here on clients are let in."""
        for listener in self._listeners:
            listener.accept_connections()

    def turn(self, timeout: float) -> None:
        """Waits for something to happen, `timeout` seconds at most, and does what there is to do."""
        now = time.time()
        if now - self._tended >= _TEND_INTERVAL:
            self._tended = now
            for channel in self.channels:
                channel.tend(now)
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._map, count=1)

    def wake(self) -> None:
        """Ends a `turn` that waits. From any thread, and from a signal handler."""
        if not self._closed:
            self._listeners[0].pull_trigger()

    def stop_listening(self) -> None:
        """New clients are refused by the system from here on; those connected go on, and so do those that the system
        has connected for us already: closing the socket would reset them."""
        for listener in self._listeners:
            listener.accept_waiting()
            listener.accepting = False
            # Not the listener's own close(): it closes the trigger, which workers go on writing to.
            wasyncore.dispatcher.close(listener)

    def close_idle(self) -> None:
        """Closes connections on which nothing is going on, and looks after the deadlines of the others. What clients
        have sent by now must have been read, by a `turn`, or those who asked just before are taken for idle."""
        now = time.time()
        for channel in self.channels:
            if not channel.busy and now - channel.last_activity > _JUST_NOW:
                channel.handle_close()
            else:
                channel.tend(now)

    @property
    def channels(self) -> list[Channel]:
        return [c for c in list(self._map.values()) if isinstance(c, Channel)]

    def close(self, timeout: float) -> None:
        """Ends the workers, for which it waits `timeout` seconds, and every connection."""
        self._closed = True
        for channel in self.channels:
            channel.handle_close()
        self._dispatcher.shutdown(timeout=timeout)
        if self._dispatcher.threads:
            return  # one that hangs in foreign code may yet write to a trigger, whose descriptor could be another's
        for listener in self._listeners:
            listener.trigger.close()
        wasyncore.close_all(self._map)


def _status_line(status: int) -> str:
    from falcon.util import code_to_http_status

    line: str = code_to_http_status(status)
    return line


def _raw_response(error: ApiError, id: str) -> bytes:
    body = error.body()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    headers |= {"x-request-id": id, **error.headers}
    lines = [f"HTTP/1.1 {_status_line(error.status)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
