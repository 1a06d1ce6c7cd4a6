"""Code of one server extension, called so that its errors name its plugin, with file and line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MethodType, TracebackType
from typing import Any, TypeVar
from wsgiref.util import is_hop_by_hop

import falcon

from mlxk_core.api.errors import MlxkError, PluginFailure, raise_system_limit
from mlxk_core.api.generation import Completion, Event, GenerationRequest
from mlxk_core.api.hooks import ServerExtensionSpec
from mlxk_core.api.host import Host
from mlxk_core.api.server import (
    ApiError,
    Cancellation,
    ErrorEncoder,
    ErrorInfo,
    FieldHandler,
    MetricCounter,
    MetricHistogram,
    MetricRegistry,
    ResponseEncoder,
)
from mlxk_serve.http.errors import error_body
from mlxk_serve.http.response_writer import ClientDisconnected
from mlxk_serve.observability.log import LOGGER

_T = TypeVar("_T")
# Responses that an extension chooses, and the end of its connection.
_INTENDED = (MlxkError, ApiError, falcon.HTTPError, falcon.HTTPStatus, ClientDisconnected)
_MIDDLEWARE = ("process_request", "process_resource", "process_response")
_ENCODER = ("piece", "end", "whole", "error")


class ExtensionGuard:
    """Calls the code of one extension. What it raises unintended becomes a `PluginFailure`."""

    def __init__(self, host: Host, spec: ServerExtensionSpec) -> None:
        self._host = host
        self._spec = spec

    def call(self, what: str, function: Callable[..., _T], /, *args: Any, **options: Any) -> _T:
        """Return `function(*args, **options)`. `what` names the function in an error."""
        with self.isolate(what, function):
            return function(*args, **options)

    def isolate(self, what: str, source: object) -> _Isolation:
        """Return a context to call `source` in, a function of the plugin. `what` names it in an error."""
        return _Isolation(self, what, source)

    def respond(
        self,
        what: str,
        function: Callable[..., Any],
        req: falcon.Request,
        resp: falcon.Response,
        /,
        *args: Any,
        **params: Any,
    ) -> None:
        """Call a responder or a middleware method. Invalid response headers are its error."""
        with self.isolate(what, function):
            try:
                function(req, resp, *args, **params)
            except _INTENDED as intended:
                _check_status(getattr(intended, "status", 500))
                _check_headers(getattr(intended, "headers", None) or {})
                raise
            _check_head(resp)

    def failure(self, what: str, error: BaseException, source: object) -> PluginFailure:
        """Return `error`, raised by `source`, as a failure of the plugin."""
        return self._host.failure_of(self._spec, f"{what} of server extension {self._spec.name}", error, source=source)

    def log(self, what: str, error: BaseException, source: object) -> None:
        """Log an error that cannot become a response."""
        LOGGER.error("%s", self.failure(what, error, source), exc_info=error)

    def quietly(self, what: str, function: Callable[[], None]) -> None:
        """Call `function`; log what it raises."""
        try:
            function()
        except BaseException as error:  # on a thread of the server, where nothing interrupts
            self.log(what, error, function)

    def field(self, name: str, handler: FieldHandler) -> FieldHandler:
        """Return the handler of a request field."""

        def handle(request: GenerationRequest, value: object) -> GenerationRequest:
            what = f"request field {name}"
            changed = self.call(what, handler, request, value)
            if not isinstance(changed, GenerationRequest):
                error = TypeError(f"it returns {type(changed).__name__}, not GenerationRequest")
                raise self.failure(what, error, handler)
            return changed

        return handle

    def errors(self, path: str, encoder: ErrorEncoder) -> ErrorEncoder:
        """Return the error encoder of a route. OpenAI's object is written where it fails."""

        def encode(error: ErrorInfo) -> bytes:
            try:
                return _bytes("it", encoder(error))
            except BaseException as raised:  # the client must get a response
                self.log(f"error encoder of route {path}", raised, encoder)
                return error_body(error)

        return encode

    def work(self, function: Callable[[Cancellation], Iterable[bytes]]) -> Callable[[Cancellation], Iterator[bytes]]:
        """Return the work of a response."""

        def run(cancellation: Cancellation) -> Iterator[bytes]:
            with self.isolate("the work of a response", function):
                for piece in function(_IsolatedCancellation(self, cancellation)):
                    yield _bytes("it", piece)

        return run

    def stream_error(self, encoder: ErrorEncoder) -> ErrorEncoder:
        """Return what writes the error that ends a stream. It logs what `encoder` raises, and raises then."""

        def encode(error: ErrorInfo) -> bytes:
            try:
                return _bytes("it", encoder(error))
            except BaseException as raised:
                self.log("the stream_error of a response", raised, encoder)
                raise RuntimeError("a plugin could not write an error") from None

        return encode

    def stream(self, what: str, pieces: Iterable[bytes], source: object) -> Iterator[bytes]:
        """Yield the pieces of a response stream of Falcon."""
        try:
            for piece in pieces:
                yield _bytes("its stream", piece)
        except (Exception, SystemExit) as error:
            self.log(what, error, source)  # the response has begun: closing the connection ends it
            raise RuntimeError("the stream of a plugin failed") from None
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                self.quietly(f"close() of {what}", close)


class _Isolation:
    """A context for code of a plugin; it can be entered again. What is raised unintended is a failure of the plugin."""

    __slots__ = ("_guard", "_source", "_what")

    def __init__(self, guard: ExtensionGuard, what: str, source: object) -> None:
        self._guard = guard
        self._what = what
        self._source = source

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, (Exception, SystemExit)) and not isinstance(error, _INTENDED):
            raise_system_limit(error)  # no thread or descriptor is left: that is not the plugin's fault
            raise self._guard.failure(self._what, error, self._source) from error


class IsolatedResource:
    """A Falcon resource of an extension."""

    def __init__(self, guard: ExtensionGuard, path: str, resource: object) -> None:
        self._guard = guard
        self._path = path
        self._resource = resource
        for method in falcon.COMBINED_METHODS:
            name = f"on_{method.lower()}"
            responder = getattr(resource, name, None)
            if callable(responder):
                setattr(self, name, functools.partial(self._respond, f"{name} of route {path}", responder))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._resource, name)

    def _respond(
        self, what: str, responder: Callable[..., None], req: falcon.Request, resp: falcon.Response, /, **params: Any
    ) -> None:
        self._guard.respond(what, responder, req, resp, **params)
        with self._guard.isolate(what, responder):
            _render(resp)
        stream: Any = resp.stream
        if stream is not None and not _is_own(stream) and not hasattr(stream, "read"):
            resp.stream = self._guard.stream(what, stream, responder)


class IsolatedMiddleware:
    """A Falcon middleware component of an extension."""

    def __init__(self, guard: ExtensionGuard, component: object) -> None:
        self._component = component
        for name in _MIDDLEWARE:
            method = getattr(component, name, None)
            if method is not None:
                what = f"{name} of middleware {type(component).__name__}"
                setattr(self, name, MethodType(_without_self(functools.partial(guard.respond, what, method)), self))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._component, name)


class IsolatedEncoder:
    """A response encoder of an extension. Raises `TypeError` for an object that is not an encoder."""

    def __init__(self, guard: ExtensionGuard, encoder: ResponseEncoder) -> None:
        kind = type(encoder).__name__
        for name in _ENCODER:
            if not callable(getattr(encoder, name, None)):
                raise TypeError(f"encoder {kind} has no method {name}")
        if not isinstance(encoder.content_type, str):
            raise TypeError(f"content_type of encoder {kind} is {type(encoder.content_type).__name__}, not str")
        _bytes(f"heartbeat of encoder {kind}", encoder.heartbeat, verb="is")
        self.content_type = encoder.content_type
        self.heartbeat = encoder.heartbeat
        self._guard = guard
        self._encoder = encoder
        self._kind = kind
        self._piece_call = guard.isolate(f"piece of encoder {kind}", encoder.piece)

    def piece(self, index: int, event: Event) -> bytes:
        with self._piece_call:
            return _bytes("piece()", self._encoder.piece(index, event))

    def end(self) -> bytes:
        with self._guard.isolate(f"end of encoder {self._kind}", self._encoder.end):
            return _bytes("end()", self._encoder.end())

    def whole(self, completions: Sequence[Completion]) -> bytes:
        with self._guard.isolate(f"whole of encoder {self._kind}", self._encoder.whole):
            return _bytes("whole()", self._encoder.whole(completions))

    def error(self, error: ErrorInfo) -> bytes:
        try:
            return _bytes("error()", self._encoder.error(error))
        except Exception as raised:
            self._guard.log(f"error of encoder {self._kind}", raised, self._encoder.error)
            raise


class IsolatedMetrics:
    """The metric registry as an extension sees it: a gauge that cannot be read is logged once."""

    def __init__(self, guard: ExtensionGuard, registry: MetricRegistry) -> None:
        self._guard = guard
        self._registry = registry

    def counter(self, name: str, help: str, *, labels: Sequence[str] = ()) -> MetricCounter:
        return self._registry.counter(name, help, labels=labels)

    def histogram(self, name: str, help: str, *, bounds: Sequence[float]) -> MetricHistogram:
        return self._registry.histogram(name, help, bounds=bounds)

    def gauge(self, name: str, help: str, read: Callable[[], Iterable[tuple[Mapping[str, str], float]]]) -> None:
        logged = False

        def samples() -> list[tuple[Mapping[str, str], float]]:
            nonlocal logged
            try:
                return [({str(key): str(text) for key, text in labels.items()}, float(n)) for labels, n in read()]
            except Exception as error:
                if not logged:
                    logged = True
                    self._guard.log(f"gauge {name}", error, read)
                raise

        self._registry.gauge(name, help, samples)


class _IsolatedCancellation:
    """The cancellation state of work: what a callback raises is logged."""

    def __init__(self, guard: ExtensionGuard, cancellation: Cancellation) -> None:
        self._guard = guard
        self._cancellation = cancellation

    @property
    def cancelled(self) -> bool:
        return self._cancellation.cancelled

    def on_cancel(self, callback: Callable[[], None], /) -> None:
        self._cancellation.on_cancel(lambda: self._guard.quietly("a callback of on_cancel", callback))

    def check(self) -> None:
        self._cancellation.check()


def _check_head(resp: falcon.Response) -> None:
    """Raise `ValueError` for a status or a header that the server would answer with a 500. The header is removed: the
    response to the error has the others."""
    _check_status(resp.status)
    for name, value in resp.headers.items():
        try:
            _check_headers({name: value})
        except ValueError:
            resp.delete_header(name)
            raise


def _check_status(status: Any) -> None:
    line = falcon.code_to_http_status(status)
    if not line[:3].isdigit() or not _is_wsgi_text(line):
        raise ValueError(f"the status is {line!r}, not a status of HTTP")


def _check_headers(headers: Mapping[str, object] | Iterable[tuple[str, object]]) -> None:
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        text = str(value)  # as falcon sends it
        if is_hop_by_hop(name):
            raise ValueError(f"header {name} is the server's: it belongs to the connection, not to the response")
        if name.lower() == "content-length" and not text.isdigit():
            raise ValueError(f"header {name} is {value!r}, not a number")
        if not _is_wsgi_text(name) or not _is_wsgi_text(text):
            raise ValueError(f"header {name!r} is {value!r}: a header has one line of Latin-1 characters")


def _is_wsgi_text(text: str) -> bool:
    return "\n" not in text and "\r" not in text and all(character <= "\xff" for character in text)


def _render(resp: falcon.Response) -> None:
    """Serialize the body now, where an error still belongs to the responder. Falcon keeps the result."""
    body = resp.render_body()
    if body is not None and not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(f"resp.data is {type(body).__name__}, not bytes")


def _is_own(stream: object) -> bool:
    return type(stream).__module__.startswith("mlxk_serve.")


def _bytes(what: str, value: object, *, verb: str = "returns") -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"{what} {verb} {type(value).__name__}, not bytes")
    return value


def _without_self(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that can be bound: Falcon wants methods of a component."""
    return lambda self, *args: function(*args)
