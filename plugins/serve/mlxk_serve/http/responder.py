"""Responding to requests: admission, generations, and the open responses of one server."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import falcon

from mlxk_core.api.errors import Interrupted, ShuttingDown
from mlxk_core.api.generation import GenerationRequest, GenerationService
from mlxk_core.api.server import Client, ErrorEncoder, ResponseEncoder
from mlxk_serve.config import ServeConfig
from mlxk_serve.http.admission import Admission
from mlxk_serve.http.detached import ClientDisconnected, ResponseWriter
from mlxk_serve.http.errors import ErrorEncoders
from mlxk_serve.http.generation_response import GenerationResponse, MapError, Timeouts
from mlxk_serve.http.pump import Pump
from mlxk_serve.http.tasks import ON_DISCONNECT, Detached
from mlxk_serve.http.thread_pool import ThreadPool
from mlxk_serve.observability.request_log import RequestRecord

RESPONSE = "mlxk.response"
"""Key in the WSGI environ: the open response of a request, for those who must discard it if it cannot begin."""
_PREPARING_THREADS = 16
_WORK_THREADS = 64


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


class Responder:
    """Runs requests and writes their responses. `errors` are the error encoders of the routes."""

    def __init__(self, config: ServeConfig, service: GenerationService) -> None:
        limits = config.limits
        self.admission = Admission(config.places, config.queue, lambda: service.full().retry_after)
        self.errors = ErrorEncoders()
        self._service = service
        self._keys = frozenset(config.keys)
        self._timeouts = Timeouts(heartbeat=limits.heartbeat, prepare=limits.prepare_time)
        self._pump = Pump()
        self._preparing = ThreadPool("mlxk-prepare", _PREPARING_THREADS)
        self._working = ThreadPool("mlxk-work", _WORK_THREADS)
        self._lock = threading.Lock()
        self._open: set[GenerationResponse | WorkResponse] = set()
        self._cut = False
        self._pump.start()

    def __len__(self) -> int:
        return len(self._open)

    def client(self, req: falcon.Request) -> Client:
        """Return who sent `req`: by API key where there are keys, else by address."""
        key = offered_key(req) if self._keys else None
        digest = hashlib.blake2s((key or "").encode("utf-8", "replace"), digest_size=8).hexdigest()
        name = digest if key in self._keys else None
        return Client(key=name, address=req.remote_addr or "local")

    def respond(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        requests: Sequence[GenerationRequest],
        encoder: ResponseEncoder,
        *,
        stream: bool,
        map_error: MapError = lambda index, error: error,
    ) -> None:
        """Submit `requests` and let their events be written to `resp`. Raises `QueueFull` and what `submit` raises."""
        record: RequestRecord = req.context.record
        if record.model is None and requests:
            record.model = requests[0].model.name
        client, count = self.client(req).id, len(requests)
        self.admission.enter(client, count)
        try:
            generations = self._service.submit_all([replace(request, client=client) for request in requests])
        except BaseException:
            self.admission.leave(client, count)
            raise

        def on_end(response: GenerationResponse) -> None:
            self.on_disconnect(req, None)
            self.admission.leave(client, count)
            with self._lock:
                self._open.discard(response)

        response = GenerationResponse(
            generations,
            encoder,
            record,
            streamed=stream,
            encode_error=self.errors.of(req.path),
            map_error=map_error,
            timeouts=self._timeouts,
            pump=self._pump,
            pool=self._preparing,
            on_end=on_end,
        )
        self._hand_over(req, resp, response, encoder.content_type if stream else falcon.MEDIA_JSON, stream)
        response.start()

    def run(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        work: Callable[[Cancellation], Iterable[bytes]],
        *,
        content_type: str,
        stream: bool,
    ) -> None:
        """Run `work` on a thread of its own and let the pieces that it yields be written to `resp`."""
        client = self.client(req).id
        self.admission.enter(client, 1)

        def on_end(response: WorkResponse) -> None:
            self.on_disconnect(req, None)
            self.admission.leave(client, 1)
            with self._lock:
                self._open.discard(response)

        response = WorkResponse(
            work, req.context.record, content_type, stream, self.errors.of(req.path), self._working, on_end
        )
        self._hand_over(req, resp, response, content_type, stream)

    def cut(self) -> None:
        """End every open response with an error, also those that are just being opened."""
        with self._lock:
            self._cut = True
            responses = list(self._open)
        for response in responses:
            response.cut()

    def stop(self, timeout: float) -> None:
        """End the response thread, for which it waits `timeout` seconds."""
        self._pump.stop(timeout)

    def _hand_over(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        response: GenerationResponse | WorkResponse,
        content_type: str,
        stream: bool,
    ) -> None:
        req.env[RESPONSE] = response
        resp.stream = response
        resp.content_type = content_type
        if stream:
            resp.set_header("cache-control", "no-cache")
            resp.set_header("x-accel-buffering", "no")
        with self._lock:
            self._open.add(response)
            cut = self._cut
        self.on_disconnect(req, response.disconnect)
        if cut:
            response.cut()

    @staticmethod
    def on_disconnect(req: falcon.Request, callback: Callable[[], None] | None) -> None:
        """Call `callback` if the client of `req` disconnects; None removes it."""
        on_disconnect = req.env.get(ON_DISCONNECT)
        if on_disconnect is not None:  # absent in `falcon.testing`
            on_disconnect(callback)


class WorkResponse:
    """The response of work other than a generation, written by the thread that does the work."""

    def __init__(
        self,
        work: Callable[[Cancellation], Iterable[bytes]],
        record: RequestRecord,
        content_type: str,
        streamed: bool,
        encode_error: ErrorEncoder,
        pool: ThreadPool,
        on_end: Callable[[WorkResponse], None],
    ) -> None:
        self._work = work
        self._record = record
        self._content_type = content_type
        self._streamed = streamed
        self._encode_error = encode_error
        self._pool = pool
        self._on_end = on_end
        self._cancellation = Cancellation()
        self._cut = False
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        raise Detached(self)

    def attach(self, writer: ResponseWriter) -> None:
        self._pool.submit(lambda: self._run(writer))

    def disconnect(self) -> None:
        self._record.disconnected = True
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
                error = RuntimeError(f"{type(error).__name__}: {error}")
            if self._record.disconnected:
                with suppress(ClientDisconnected):
                    writer.abort()
                return
            if self._cut and isinstance(error, Interrupted):
                error = ShuttingDown("The server is shutting down.")
            failure = self._record.fail(error)
            with suppress(ClientDisconnected):
                if writer.begun:
                    writer.abort()
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
                self._check()
                writer.write(piece)
            self._check()
        else:
            body = b"".join(pieces)
            self._check()
            writer.set_head(200, {"content-type": self._content_type}, length=len(body))
            self._end()
            writer.write(body)
        writer.finish()

    def _check(self) -> None:
        if self._record.disconnected:
            raise ClientDisconnected
        if self._cut:
            raise ShuttingDown("The server is shutting down.")

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(self)


def offered_key(req: falcon.Request) -> str | None:
    """Return the API key that `req` carries, valid or not."""
    scheme, _, token = (req.get_header("authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else (req.get_header("x-api-key") or "").strip() or None
