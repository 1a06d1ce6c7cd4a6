"""Responses of work other than a generation, such as embeddings or a download."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import falcon

from mlxk_core.api.errors import Interrupted, ShuttingDown, type_and_message
from mlxk_core.api.server import ErrorEncoder, ErrorInfo
from mlxk_serve.http.response_writer import ClientDisconnected, ResponseWriter
from mlxk_serve.http.tasks import Detached
from mlxk_serve.http.thread_pool import ThreadPool
from mlxk_serve.observability.request_log import RequestRecord

_LARGEST_WRITE = 64 << 10
_LARGEST_BODY = 64 << 10
"""Bytes of a body of several pieces that are sent together, with their length."""
_TURN_SECONDS = 0.05
"""After this time the other bodies that are sent in pieces have their turn."""


class Cancellation:
    """Cancellation state of the work for a response."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._callbacks: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def on_cancel(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if not self._cancelled:
                self._callbacks.append(callback)
                return
        callback()

    def check(self) -> None:
        """Raise `Interrupted` if `cancelled`."""
        if self._cancelled:
            raise Interrupted("The response is no longer wanted.")

    def cancel(self) -> None:
        """Set `cancelled` and call the callbacks, once."""
        with self._lock:
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class WorkResponse:
    """The response of work other than a generation, written by the thread that does the work.

    A large body in pieces is written by the threads of `write_pool`, a piece at a time, as fast as its client reads:
    what it is made from takes less memory than its text.
    """

    def __init__(
        self,
        work: Callable[[Cancellation], Iterable[bytes]],
        record: RequestRecord,
        content_type: str,
        *,
        streamed: bool,
        encode_error: ErrorEncoder,
        stream_error: ErrorEncoder | None,
        pool: ThreadPool,
        write_pool: ThreadPool,
        client: str,
        on_end: Callable[[WorkResponse], None],
    ) -> None:
        self._work = work
        self._record = record
        self._content_type = content_type
        self._streamed = streamed
        self._encode_error = encode_error
        self._stream_error = stream_error
        self._pool = pool
        self._write_pool = write_pool
        self._client = client
        self._on_end = on_end
        self._cancellation = Cancellation()
        self._lock = threading.Lock()
        self._complete = False
        self._cut = False
        self._ended = False
        self._between_pieces = False
        self._pieces: Iterator[bytes] | None = None
        self._waiting: ResponseWriter | None = None
        self._releases: list[Callable[[], None]] = []

    def __iter__(self) -> Iterator[bytes]:
        raise Detached(self)

    def attach(self, writer: ResponseWriter) -> None:
        self._pool.submit(lambda: self._run(writer, self._write), self._client)

    def disconnect(self) -> None:
        with self._lock:
            self._record.disconnected = not self._complete
        self._cancellation.cancel()

    def cut(self) -> None:
        self._cut = True
        self._cancellation.cancel()
        self._go_on()

    def at_end(self, release: Callable[[], None]) -> None:
        """Call `release` when the work, and what it has made, is no longer held. For the work itself."""
        self._releases.append(release)

    def discard(self) -> None:
        self._end()

    def _run(self, writer: ResponseWriter, write: Callable[[ResponseWriter], bool]) -> None:
        """Call `write`, which returns whether the response is over: if not, another thread may already go on."""
        over = True
        try:
            over = write(writer)
        except ClientDisconnected:
            self._record.disconnected = True
            with suppress(ClientDisconnected):
                writer.abort()
        except BaseException as error:
            if not isinstance(error, Exception):
                error = RuntimeError(type_and_message(error))
            if self._record.disconnected:
                with suppress(ClientDisconnected):
                    writer.abort()
                return
            if self._cut and isinstance(error, Interrupted):
                error = ShuttingDown("The server is shutting down.")
            failure = self._record.fail(error)
            with self._lock:  # the connection that ends now is not a client that has left
                self._complete = True
            with suppress(ClientDisconnected):
                if writer.begun:
                    self._end_stream(writer, failure.info)
                else:
                    self._record.status = failure.status
                    body = self._encode_error(failure.info)
                    headers = {**failure.headers, "content-type": falcon.MEDIA_JSON}
                    writer.set_head(failure.status, headers, length=len(body))
                    writer.write(body)
                    writer.finish()
        finally:
            if over:
                self._end()
                self._record.close()

    def _write(self, writer: ResponseWriter) -> bool:
        pieces = self._work(self._cancellation)
        if self._streamed:
            for piece in pieces:
                for start in range(0, len(piece) or 1, _LARGEST_WRITE):
                    writer.wait_for_room()
                    self._check()
                    self._between_pieces = False
                    writer.write(piece[start : start + _LARGEST_WRITE])
                self._between_pieces = True
            with self._lock:  # work that is cut short raises: a client that has left by now has the last piece
                self._complete, self._record.disconnected = True, False
            self._end()
        else:
            self._pieces = iter(pieces)
            held = list(self._first_pieces(self._pieces))
            body = b"".join(held)
            if len(held) > 1 and len(body) > _LARGEST_BODY:
                writer.set_head(200, {"content-type": self._content_type})
                writer.write(body)
                self._submit(writer)
                return False
            writer.set_head(200, {"content-type": self._content_type}, length=len(body))
            self._end()
            writer.write(body)
        with suppress(ClientDisconnected):
            writer.finish()
        return True

    def _first_pieces(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the first pieces: all, or two and more that are together larger than what is sent at once."""
        count = size = 0
        for piece in pieces:
            self._check()
            yield piece
            count, size = count + 1, size + len(piece)
            if count > 1 and size > _LARGEST_BODY:
                return
        self._check()

    def _write_pieces(self, writer: ResponseWriter) -> bool:
        """Write further pieces of a large body, until its client reads too slowly or others have their turn."""
        assert self._pieces is not None
        until = time.monotonic() + _TURN_SECONDS
        while True:
            self._check()
            if writer.congested:
                self._wait(writer)
                return False
            if time.monotonic() > until:
                self._submit(writer)
                return False
            if (piece := next(self._pieces, None)) is None:
                break
            writer.write(piece)
        with self._lock:
            self._complete, self._record.disconnected = True, False
        self._end()
        with suppress(ClientDisconnected):
            writer.finish()
        return True

    def _submit(self, writer: ResponseWriter) -> None:
        self._write_pool.submit(lambda: self._run(writer, self._write_pieces), self._client)

    def _wait(self, writer: ResponseWriter) -> None:
        """Go on when the client has read enough or left, or when the response is cut."""
        with self._lock:
            self._waiting = writer
        writer.on_room(self._go_on)
        if self._cut:
            self._go_on()

    def _go_on(self) -> None:
        with self._lock:
            writer, self._waiting = self._waiting, None
        if writer is not None:
            self._submit(writer)

    def _end_stream(self, writer: ResponseWriter, error: ErrorInfo) -> None:
        """End a stream with its error, or abort it if that cannot be written or would be in the middle of a piece."""
        last = b""
        if self._stream_error is not None and self._between_pieces:
            with suppress(Exception):  # logged there
                last = self._stream_error(error)
        if last:
            writer.write(last)
            writer.finish()
        else:
            writer.abort()

    def _check(self) -> None:
        if self._record.disconnected:
            raise ClientDisconnected
        if self._cut:
            raise ShuttingDown("The server is shutting down.")

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._pieces = None
            releases, self._releases = self._releases, []
            for release in releases:
                release()
            self._on_end(self)
