"""Responses of work other than a generation, such as embeddings or a download."""

from __future__ import annotations

import threading
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
    """The response of work other than a generation, written by the thread that does the work."""

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
        self._client = client
        self._on_end = on_end
        self._cancellation = Cancellation()
        self._lock = threading.Lock()
        self._complete = False
        self._cut = False
        self._ended = False
        self._between_pieces = False

    def __iter__(self) -> Iterator[bytes]:
        raise Detached(self)

    def attach(self, writer: ResponseWriter) -> None:
        self._pool.submit(lambda: self._run(writer), self._client)

    def disconnect(self) -> None:
        with self._lock:
            self._record.disconnected = not self._complete
        self._cancellation.cancel()

    def cut(self) -> None:
        self._cut = True
        self._cancellation.cancel()

    def discard(self) -> None:
        self._end()

    def _run(self, writer: ResponseWriter) -> None:
        try:
            self._write(writer)
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
            self._end()
            self._record.close()

    def _write(self, writer: ResponseWriter) -> None:
        pieces = self._work(self._cancellation)
        if self._streamed:
            for piece in pieces:
                for start in range(0, len(piece) or 1, _LARGEST_WRITE):  # the writer waits between them for its reader
                    self._check()
                    self._between_pieces = False
                    writer.write(piece[start : start + _LARGEST_WRITE])
                self._between_pieces = True
            with self._lock:  # work that is cut short raises: a client that has left by now has the last piece
                self._complete, self._record.disconnected = True, False
            self._end()
        else:
            body = b"".join(self._checked(pieces))
            writer.set_head(200, {"content-type": self._content_type}, length=len(body))
            self._end()
            writer.write(body)
        with suppress(ClientDisconnected):
            writer.finish()

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

    def _checked(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._check()
            yield piece
        self._check()

    def _check(self) -> None:
        if self._record.disconnected:
            raise ClientDisconnected
        if self._cut:
            raise ShuttingDown("The server is shutting down.")

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(self)
