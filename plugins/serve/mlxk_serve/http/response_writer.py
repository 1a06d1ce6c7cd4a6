"""The writer of one response: any thread may use it, after the worker thread of the connection has moved on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from waitress.channel import ClientDisconnected

from mlxk_serve.http.errors import status_line

__all__ = ["ClientDisconnected", "ResponseWriter"]


class Connection(Protocol):
    """Interface of the connection that a writer uses (`mlxk_serve.http.channel.Channel`)."""

    @property
    def congested(self) -> bool:
        """Whether so much is unsent that a writer should wait."""

    def on_room(self, callback: Callable[[], None], /) -> None:
        """Call `callback` once, when that is not so or the connection is closed."""

    def wait_for_room(self) -> None:
        """Wait while it is `congested`."""

    def write_soon(self, data: bytes, /) -> Any:
        """Send `data`; raises `ClientDisconnected`."""

    def complete(self, task: Any, /) -> None:
        """Go on with the connection after the response of `task`."""


class ResponseWriter:
    """The open response of one connection, used by one thread at a time.

    Status and headers can be changed until the first `write`. `write` raises `ClientDisconnected`, and does not wait
    for the client: who writes much looks at `congested` first.
    """

    def __init__(self, channel: Connection, task: Any) -> None:
        self._channel = channel
        self._task = task
        self._chunked = False
        task.request.close()  # the body was read; hundreds of waiting requests need not keep theirs

    @property
    def begun(self) -> bool:
        """Whether status and headers are on their way to the client."""
        return bool(self._task.wrote_header)

    @property
    def congested(self) -> bool:
        """Whether the client reads too slowly to take more now."""
        return self._channel.congested

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, on another thread, when the client has read enough or left; at once if it has."""
        self._channel.on_room(callback)

    def wait_for_room(self) -> None:
        """Wait while the client reads too slowly to take more."""
        self._channel.wait_for_room()

    def set_head(self, status: int, headers: Mapping[str, str], *, length: int | None = None) -> None:
        """Replace the status and the named headers. `length` is the number of body bytes, None for a stream."""
        task = self._task
        task.status = status_line(status)
        replaced = {name.lower() for name in headers} | {"content-length"}
        kept = [(name, value) for name, value in task.response_headers if name.lower() not in replaced]
        task.response_headers = [*kept, *headers.items()]
        task.content_length = length

    def write(self, data: bytes) -> None:
        """Send `data`; empty data sends the headers."""
        if self._chunked and data:  # what `Task.write` does after its checks
            self._channel.write_soon(b"%X\r\n%b\r\n" % (len(data), data))
            return
        task = self._task
        task.write(data)
        self._chunked = bool(task.wrote_header and task.chunked_response and task.has_body)

    def finish(self) -> None:
        """End the response. The connection takes its next request, or is closed if the client wants that."""
        self._channel.complete(self._task)

    def abort(self) -> None:
        """Close the connection without ending the response: what was sent cannot pass for all of it."""
        self._task.close_on_finish = True
        self._task.chunked_response = False  # no last chunk
        self._channel.complete(self._task)
