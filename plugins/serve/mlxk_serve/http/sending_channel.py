"""How a connection sends: at once while its client reads, else from memory or temporary files."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from waitress.adjustments import Adjustments
from waitress.channel import ClientDisconnected, HTTPChannel

from mlxk_serve.http.byte_budget import Share, UnsentBuffer
from mlxk_serve.http.temporary_files import not_stored
from mlxk_serve.observability.repeated import RepeatedMessage

_NOT_STORED = RepeatedMessage(logging.ERROR)
_COUNTED = 64 << 10
"""Bytes of a response from which on those that are unsent count together with others'. A stream has pieces, of which
fewer wait."""


class SendingChannel(HTTPChannel):
    """A channel of waitress that sends at once where it can."""

    _last_activity = 0.0

    def __init__(self, server: Any, sock: socket.socket, addr: Any, adj: Adjustments, map: Any = None) -> None:
        self._unsent, self._unsent_in_files = server.unsent, server.unsent_in_files
        self._socket_lock = threading.Lock()
        self._closed = False
        self._recorded: bytearray | None = None
        self._room_lock = threading.Lock()
        self._on_room: tuple[int, Callable[[], None]] | None = None
        self.waits = False
        """Whether a write waits until the client has read enough. Only that of an application on a worker does."""
        super().__init__(server, sock, addr, adj, map=map)

    @property
    def last_activity(self) -> float:
        """Monotonic seconds. waitress assigns wall-clock time, which is replaced here."""
        return self._last_activity

    @last_activity.setter
    def last_activity(self, wall_clock: float) -> None:
        self._activity_before, self._last_activity = self._last_activity, time.monotonic()

    def handle_close(self) -> None:
        with self._socket_lock:
            self._closed = True
        super().handle_close()
        self._notify_room()

    def handle_write(self) -> None:
        super().handle_write()
        self._notify_room()

    @property
    def congested(self) -> bool:
        """Whether so much is unsent that a writer should wait."""
        return bool(self.total_outbufs_len > self.adj.outbuf_high_watermark)

    def on_room(self, callback: Callable[[], None], *, unsent: int | None = None) -> None:
        """Call `callback` once, when at most `unsent` bytes are unsent (by default, when it is not `congested`) or the
        connection is closed; at once if it already is so."""
        with self._room_lock:
            self._on_room = self.adj.outbuf_high_watermark if unsent is None else unsent, callback
        self._notify_room()

    def _notify_room(self) -> None:
        if self._on_room is None:
            return
        with self._room_lock:
            if self._on_room is None or (self.total_outbufs_len > self._on_room[0] and not self._closed):
                return
            (_, callback), self._on_room = self._on_room, None
        callback()

    def wait_for_room(self) -> None:
        """Wait while the connection is `congested`."""
        super()._flush_outbufs_below_high_watermark()

    def _flush_outbufs_below_high_watermark(self) -> None:
        """waitress waits here, in each write and before the next request of a connection: a thread that writes for many
        would wait for one client."""
        if self.waits:
            self.wait_for_room()

    @contextmanager
    def recorded(self) -> Iterator[bytearray]:
        """Yield the bytes that are sent at once from now on."""
        self._recorded = sent = bytearray()
        try:
            yield sent
        finally:
            self._recorded = None

    def write_soon(self, data: Any) -> Any:
        """Send `data`; at once if nothing is waiting, since waitress' buffers cost more than the system call."""
        if not self.total_outbufs_len:
            self._last_activity = time.monotonic()  # a client that had nothing to read until now was not slow
            if type(data) is bytes and (sent := self._send_now(data)):
                if sent < len(data):
                    self._write_later(data[sent:])
                return len(data)
        return self._write_later(data)

    def _write_later(self, data: Any) -> Any:
        """Keep `data` until the client reads it: in memory as long as all connections together have not too much, then
        in temporary files, which have a limit as well."""
        try:
            if type(data) is bytes and (
                len(data) >= _COUNTED or self.total_outbufs_len + len(data) >= self.adj.outbuf_high_watermark
            ):
                data = self._buffer(data)
            return super().write_soon(data)
        except OSError as error:  # of a temporary file: those of the socket are handled elsewhere
            _NOT_STORED.log(not_stored("a response that is not read yet", error))
            raise ClientDisconnected from error

    def _buffer(self, data: bytes) -> UnsentBuffer:
        share = Share(self._unsent)
        if share.grow_to(len(data)):
            return UnsentBuffer.in_memory(data, share)
        share = Share(self._unsent_in_files)
        if share.grow_to(len(data)):
            return UnsentBuffer.in_file(data, share)
        _NOT_STORED.log("a response cannot be stored until it is read: too many large ones wait for slow readers.")
        raise ClientDisconnected

    def _send_now(self, data: bytes) -> int:
        """Return the number of bytes sent; 0 if there is an error, which waitress will meet again.

        Only one thread writes a response, so nothing can be put before `data`. The lock keeps the descriptor from being
        closed, and given to another connection, meanwhile; it costs less than the condition that guards the buffers.
        """
        with self._socket_lock:
            if self.total_outbufs_len or self._closed:
                return 0
            try:
                count = self.socket.send(data)
            except OSError:
                return 0
        if self._recorded is not None:
            self._recorded += data[:count]
        return count
