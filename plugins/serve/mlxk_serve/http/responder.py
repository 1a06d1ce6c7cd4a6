"""Responding to requests: admission, generations, and the open responses of one server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import falcon

from mlxk_core.api.generation import Event, Generation, GenerationRequest, GenerationService, prompt_size
from mlxk_core.api.models import model_context_length
from mlxk_core.api.server import Client, ErrorEncoder, ResponseEncoder
from mlxk_serve.config import ServeConfig
from mlxk_serve.http.admission import Admission
from mlxk_serve.http.byte_budget import ByteBudget
from mlxk_serve.http.client_budget import ClientBudget
from mlxk_serve.http.client_ids import ClientIds
from mlxk_serve.http.errors import ErrorEncoders
from mlxk_serve.http.generation_response import GenerationResponse, MapError, Pools, Timeouts
from mlxk_serve.http.held_events import HeldEvents
from mlxk_serve.http.preparation import read_events
from mlxk_serve.http.response_thread import ResponseThread
from mlxk_serve.http.tasks import ON_DISCONNECT
from mlxk_serve.http.thread_pool import ThreadPool
from mlxk_serve.http.turns import Turns
from mlxk_serve.http.work_response import Cancellation, WorkResponse
from mlxk_serve.observability.request_log import RequestRecord

RESPONSE = "mlxk.response"
"""Key in the WSGI environ: the open response of a request, for those who must discard it if it cannot begin."""
OpenResponse = GenerationResponse | WorkResponse
_PREPARING_THREADS = 16
_LARGE_THREADS = 2
_WRITE_THREADS = 2  # of large bodies, in pieces
_LARGE_WORK_THREADS = 8  # more, since work may also wait, for example for a model to load
"""For large requests: dozens of threads that work on them would delay `/health`, and small requests would wait."""
_LARGE = 256 << 10
"""Characters of a large prompt, bytes of a large body."""
_WORK_THREADS = 64
_TOKEN_BYTES = 8
"""Of a prompt that waits. A character is a token at most, and a prompt has no more of them than the context."""


class Responder:
    """Runs requests and writes their responses. `errors` are the error encoders of the routes."""

    def __init__(self, config: ServeConfig, service: GenerationService, turns: Turns, client_ids: ClientIds) -> None:
        limits = config.limits
        self.admission = Admission(config.places, config.queue, limits.open_bodies, service.retry_after)
        self.errors = ErrorEncoders()
        self._free_body = limits.free_body
        self._service = service
        self._client_ids = client_ids
        self._timeouts = Timeouts(heartbeat=limits.heartbeat, prepare=limits.prepare_time)
        self._logprobs = ByteBudget(limits.logprobs)
        self._results = ClientBudget(limits.results, limits.free_results)
        self._response_thread = ResponseThread()
        self._pools = Pools(
            prepare=ThreadPool("mlxk-prepare", _PREPARING_THREADS),
            prepare_large=ThreadPool("mlxk-prepare-large", _LARGE_THREADS),
            decode=ThreadPool("mlxk-decode", config.places),  # one for each: a response may block
            decode_large=ThreadPool("mlxk-decode-large", _LARGE_THREADS),
        )
        self._working = ThreadPool("mlxk-work", _WORK_THREADS, turns)
        self._waiting = ThreadPool("mlxk-wait", config.places, turns)
        self._working_large = ThreadPool("mlxk-work-large", _LARGE_WORK_THREADS, turns)
        self._writing = ThreadPool("mlxk-write", _WRITE_THREADS, turns)
        self._lock = threading.Lock()
        self._open: set[OpenResponse] = set()
        self._cut = False
        self._response_thread.start()

    def __len__(self) -> int:
        return len(self._open)

    def client(self, req: falcon.Request) -> Client:
        """Return who sent `req`."""
        return self._client_ids.of(req.get_header("authorization"), req.get_header("x-api-key"), req.remote_addr)

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
        sizes = _prompt_sizes(requests)
        most_tokens = sum(min(size, model_context_length(request.model) or size) for request, size in sizes)
        client, count = self.client(req).id, len(requests)
        size = self._counted_size(req, _TOKEN_BYTES * most_tokens)
        self.admission.enter(client, count, size)
        try:
            generations = self._service.submit_all([replace(request, client=client) for request in requests])
        except BaseException:
            self.admission.leave(client, count, size)
            raise
        response = GenerationResponse(
            generations,
            encoder,
            record,
            streamed=stream,
            encode_error=self.errors.of(req.path),
            map_error=map_error,
            timeouts=self._timeouts,
            response_thread=self._response_thread,
            pools=self._pools,
            held_events=HeldEvents(self._logprobs, client),
            client=client,
            large=any(size > _LARGE for _, size in sizes),
            on_end=self._closing(req, client, count, size),
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
        takes_place: bool = True,
        waits: bool = False,
        stream_error: ErrorEncoder | None = None,
    ) -> None:
        """Run `work` on a thread of its own and let the pieces that it yields be written to `resp`.

        Unless it `takes_place`, it runs also when every place is taken. Work that `waits` has threads of its own.
        `stream_error` writes an error after the first piece.
        """
        client, count, size = self.client(req).id, int(takes_place), self._counted_size(req)
        self.admission.enter(client, count, size)
        on_end = self._closing(req, client, count, size)
        large = (req.content_length or 0) > _LARGE
        pool = self._waiting if waits else self._working_large if large else self._working
        response = WorkResponse(
            work,
            req.context.record,
            content_type,
            streamed=stream,
            encode_error=self.errors.of(req.path),
            stream_error=stream_error,
            pool=pool,
            write_pool=self._writing,
            client=client,
            on_end=on_end,
        )
        self._hand_over(req, resp, response, content_type, stream)

    def events(self, generation: Generation, request: GenerationRequest) -> Iterator[Event]:
        """Yield the events of `generation`, which runs `request`; its prompt is prepared where all others are."""
        large = prompt_size(request) > _LARGE
        return read_events(generation, self._pools.prepare_large if large else self._pools.prepare, request.client)

    def hold(self, req: falcon.Request, size: int) -> None:
        """Count `size` bytes that the work of the response to `req` holds until it ends. Raises `ApiError`: 400, or 503
        if others hold too much."""
        response = req.env.get(RESPONSE)
        assert isinstance(response, WorkResponse), "only the work of a response can hold its results"
        client = self.client(req).id
        self._results.take(client, size)
        response.at_end(lambda: self._results.give_back(client, size))

    def cut(self) -> None:
        """End every open response with an error, also those that are just being opened."""
        with self._lock:
            self._cut = True
            responses = list(self._open)
        for response in responses:
            response.cut()

    def stop(self, timeout: float) -> None:
        """End the response thread, for which it waits `timeout` seconds, and the threads of the pools once they have
        nothing to do."""
        self._response_thread.stop(timeout)
        for pool in (*self._pools, self._working, self._waiting, self._working_large, self._writing):
            pool.stop()

    def _hand_over(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        response: OpenResponse,
        content_type: str,
        stream: bool,
    ) -> None:
        if (before := req.env.get(RESPONSE)) is not None:  # an extension has begun two of them
            before.discard()
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

    def _counted_size(self, req: falcon.Request, prompts: int = 0) -> int:
        """Return how much the body counts for admission, and `prompts`, the bytes of the prompts made of it."""
        size: int = req.context.body_size
        return max(0, size + prompts - self._free_body)

    def _closing(self, req: falcon.Request, client: str, count: int, size: int) -> Callable[[OpenResponse], None]:
        """Return what is called when the response to `req` is over: `count` places of `client` become free, and the
        `size` bytes of its body."""

        def close(response: OpenResponse) -> None:
            self.on_disconnect(req, None)
            self.admission.leave(client, count, size)
            with self._lock:
                self._open.discard(response)

        return close

    @staticmethod
    def on_disconnect(req: falcon.Request, callback: Callable[[], None] | None) -> None:
        """Call `callback` if the client of `req` disconnects; None removes it."""
        on_disconnect = req.env.get(ON_DISCONNECT)
        if on_disconnect is not None:  # absent in `falcon.testing`
            on_disconnect(callback)


def _prompt_sizes(requests: Sequence[GenerationRequest]) -> list[tuple[GenerationRequest, int]]:
    """Return the first of the requests with each prompt, and the size of that in characters."""
    first = {id(request.prompt): request for request in reversed(requests)}
    return [(request, prompt_size(request)) for request in first.values()]
