"""Server extensions: what a plugin adds to `mlxk serve`, and what the server gives it.

An extension is a callable named by `ServerExtensionSpec.target`. It is called once, with a `ServerContext`, before the
server accepts its first connection. Resources and middleware are Falcon's; `req` and `resp` are Falcon's request and
response.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from mlxk_core.api.generation import Completion, Event, Generation, GenerationRequest, GenerationService
    from mlxk_core.api.host import Host
    from mlxk_core.api.models import Model

EVENT_STREAM = "text/event-stream; charset=utf-8"
"""Content type of server-sent events."""
NDJSON = "application/x-ndjson"
"""Content type of one JSON document a line."""


@dataclass(frozen=True, kw_only=True)
class ErrorInfo:
    """A failed request, before it is encoded for a protocol.

    `status` is the HTTP status, `type` OpenAI's class of errors, `code` the error's type in mlxk's table (or None),
    `param` the path of the request field at fault (`messages[0].content`).
    """

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None


FieldHandler = Callable[["GenerationRequest", Any], "GenerationRequest"]
"""Applies the value of a request field of an extension to a request."""

ErrorEncoder = Callable[[ErrorInfo], bytes]
"""Writes an error as the JSON body of one protocol."""


class ApiError(Exception):
    """An error response. Raise it in a resource; the route's `ErrorEncoder` writes it.

    `param` is the path of the request field at fault (`messages[0].content`), `type` OpenAI's class of errors (default:
    by status), `headers` are added to the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = str(message)
        self.code = code
        self.param = None if param is None else str(param)
        self.type = type or _type_of(status)
        self.headers = dict(headers or {})

    @property
    def info(self) -> ErrorInfo:
        """Return the error as an `ErrorEncoder` gets it."""
        # Half a surrogate, from the name of a file or from a config, cannot be sent as UTF-8.
        message = self.message.encode("utf-8", "backslashreplace").decode()
        return ErrorInfo(status=self.status, message=message, type=self.type, code=self.code, param=self.param)


def _type_of(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client. `key` is a digest of its API key (None without keys), `address` its IP address."""

    key: str | None
    address: str

    @property
    def id(self) -> str:
        """Identifies the client: its key if there is one, else its address, or the network of it that one machine has:
        64 bits of IPv6, and all of loopback."""
        return self.key or _network(self.address)


@lru_cache(maxsize=1024)
def _network(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:  # of a Unix socket
        return address
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    if found.is_loopback:
        return "loopback"
    return str(ip_network((int(found) >> 64 << 64, 64))) if isinstance(found, IPv6Address) else str(found)


class Cancellation(Protocol):
    """Tells whether the response to a request is still needed."""

    @property
    def cancelled(self) -> bool:
        """Whether the client disconnected or the server cuts off its responses."""

    def on_cancel(self, callback: Callable[[], None], /) -> None:
        """Call `callback` on another thread when that happens; at once if it has."""

    def check(self) -> None:
        """Raise `Interrupted` if that has happened. Pass it as `waiting` to the generation service."""


class ResponseEncoder(Protocol):
    """Writes the events of one response in one protocol. Made for one response, used by one thread.

    The body of a response that is not streamed is `whole`; a streamed one is every `piece`, then `end`.
    """

    content_type: str
    """Content type of the stream: `EVENT_STREAM`, `NDJSON`."""
    heartbeat: bytes
    """Sent when nothing else was for a while, so that proxies keep the connection: an SSE comment. May be empty."""

    def piece(self, index: int, event: Event, /) -> bytes:
        """Return what `event` of choice `index` adds to the stream; often nothing."""

    def end(self) -> bytes:
        """Return what follows the last event of all choices."""

    def whole(self, completions: Sequence[Completion], /) -> bytes:
        """Return the JSON body with all choices, in order."""

    def error(self, error: ErrorInfo, /) -> bytes:
        """Return the last piece of a stream that fails after it began."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Options of the running server that a protocol needs.

    `max_tokens` is the default budget of a chat response (None: half of the context), `places` the number of choices
    that one client can have running or waiting, `authenticated` whether an API key is required. `body` is the largest
    request body in bytes, `heartbeat` the seconds after which a silent stream gets one. With `allow_pull` clients may
    download models. With `generic_tools` tools work with every model that chats.
    """

    max_tokens: int | None
    hide_reasoning: bool
    places: int
    authenticated: bool
    body: int
    heartbeat: float
    allow_pull: bool = False
    generic_tools: bool = True


class ServedModels(Protocol):
    """The models that a client may name."""

    def names(self) -> list[str]:
        """Return the name of every model that can be run, sorted."""

    def all(self) -> list[tuple[str, Model]]:
        """Return every model that can be run with its name, sorted by name."""

    def get(self, name: str, /) -> Model:
        """Return the model of that exact name. Raises `ModelNotFound`, or `MlxkError` for a broken one."""

    def loaded(self, name: str, /) -> list[Model]:
        """Return the loaded models of that name, also those that were deleted or replaced by another revision.

        Raises what `get` raises if there is no such model, neither loaded nor in the cache.
        """


class MetricCounter(Protocol):
    """A number that only grows, one for each combination of label values."""

    def add(self, amount: float = 1, **labels: str) -> None: ...


class MetricHistogram(Protocol):
    """Counts of values below each bound."""

    def observe(self, value: float) -> None: ...


class MetricRegistry(Protocol):
    """Metrics of one server, shown by `/metrics`. Each method raises `ValueError` for a name that is taken."""

    def counter(self, name: str, help: str, *, labels: Sequence[str] = ()) -> MetricCounter:
        """Register a counter; `add` needs a value for each of `labels`."""

    def gauge(self, name: str, help: str, read: Callable[[], Iterable[tuple[Mapping[str, str], float]]]) -> None:
        """Register a gauge; `read` returns pairs of labels and value and is called for each scrape."""

    def histogram(self, name: str, help: str, *, bounds: Sequence[float]) -> MetricHistogram:
        """Register a histogram with these upper bounds."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A method of a route, for `/openapi.json`.

    `request` and `response` are msgspec structs or types such as `dict[str, int]` (None: no JSON body). `stream` is the
    content type of a response that may be streamed instead, `query` names parameters of the URL. `error` is the type of
    the bodies that the route's `errors` writes (None: OpenAI's error object).
    """

    method: Literal["get", "post", "delete"]
    summary: str
    request: Any = None
    response: Any = None
    stream: str | None = None
    query: Sequence[str] = ()
    error: Any = None


class ServerContext(Protocol):
    """The server as an extension sees it.

    What the extension adds takes effect together, after it has returned; if it raises, nothing does.

    Log with `logging.getLogger("mlxk.NAME")`: keys and home folders are redacted, and `--log-json` applies.
    """

    @property
    def host(self) -> Host:
        """The plugin host."""

    @property
    def service(self) -> GenerationService:
        """The generation service all routes share.

        What a responder submits on its own thread is cancelled when the client of the request disconnects.
        """

    @property
    def models(self) -> ServedModels:
        """The models that a client may name."""

    @property
    def settings(self) -> ServerSettings:
        """The options of this server."""

    @property
    def metrics(self) -> MetricRegistry:
        """Counters, gauges and histograms for `/metrics`."""

    def add_route(
        self,
        path: str,
        resource: object,
        *,
        errors: ErrorEncoder | None = None,
        authenticated: bool = True,
        operations: Sequence[Operation] = (),
    ) -> None:
        """Serve `path` (a Falcon URI template) by a Falcon resource.

        `errors` writes this route's errors (default: OpenAI's object). `authenticated=False` serves it without an API
        key, for static pages; Host and Origin are checked all the same. `operations` describe it in `/openapi.json`.
        Raises `ValueError` if the path is taken.
        """

    def add_request_field(self, name: str, handler: FieldHandler) -> None:
        """Claim a field of the bodies of `/v1/chat/completions` and `/v1/completions`.

        `handler(request, value)` returns the changed request; it is called when the field is present and not null.
        Raise `InvalidOption(name, …)` for a wrong value: a 400 that names the field. Raises `ValueError` if the field
        is taken: one of OpenAI's, or of another extension.
        """

    def add_middleware(self, component: object) -> None:
        """Add a Falcon middleware component around every request, inside mlxk's own."""

    def respond(
        self,
        req: Any,
        resp: Any,
        requests: Sequence[GenerationRequest],
        encoder: ResponseEncoder,
        *,
        stream: bool,
    ) -> None:
        """Run `requests`, one choice each, and write them to `resp` with `encoder`.

        Call it last in a responder. The generations are cancelled when the client disconnects or the server cuts off
        its responses; they are counted and logged like every other. Raises `QueueFull` and what
        `GenerationService.submit` raises; let it pass, the route's error encoder writes it.
        """

    def run(
        self,
        req: Any,
        resp: Any,
        work: Callable[[Cancellation], Iterable[bytes]],
        *,
        content_type: str,
        stream: bool,
        takes_place: bool = True,
        waits: bool = False,
        stream_error: ErrorEncoder | None = None,
    ) -> None:
        """Run `work` on a thread of its own and write the pieces it yields to `resp`; for work other than a generation.

        It takes one of the server's places for requests, or raises `QueueFull`. Without `takes_place` it runs also when
        every place is taken: for short work, such as a list. Work that `waits`, for as long as something else takes,
        has other threads: it delays no short work.

        Call it last in a responder. Not streamed, the pieces are joined to one body; one above 64 KiB is sent piece
        by piece, each computed when the client has read enough of those before. An error before the first piece that
        is sent has a status of its own; a later one, as when the server shuts down, is written with `stream_error` as
        the last piece, or closes the connection without it. Work that ends early because it was cancelled raises an
        error (`Cancellation.check`): what ends without one counts as complete.
        """

    def events(self, generation: Generation, request: GenerationRequest) -> Iterator[Event]:
        """Yield the events of `generation`, which runs `request` without a connection to write them to.

        Like iterating over it, but the prompt is prepared where those of other responses are: few at once, by turns of
        `request.client`. Raises what the generation raises.
        """

    def hold(self, req: Any, size: int) -> None:
        """Count `size` bytes of results that the work for `req` keeps until its response is written, such as vectors.

        Call it in work given to `run`, before it makes them; they count until the response ends. Raises `ApiError` if
        they are too many for one request (400), or if other responses have too many (503); let it pass.
        """

    def on_disconnect(self, req: Any, callback: Callable[[], None] | None) -> None:
        """Call `callback` once, on another thread, if the client disconnects before its response is complete.

        For a responder that works on its own thread. It replaces an earlier callback of the same request; None removes
        it.
        """

    def client(self, req: Any) -> Client:
        """Return the sender of `req`: data stored for one client must not be given to another."""


ServerExtension = Callable[[ServerContext], None]
"""The type of `ServerExtensionSpec.target`."""


def route_shape(path: str) -> str:
    """Return what URI templates have in common that serve the same requests: `/items/{id}` is `/items/{}`."""
    return _FIELD.sub("{}", path).rstrip("/") or "/"


_FIELD = re.compile(r"\{[^}]*\}")
