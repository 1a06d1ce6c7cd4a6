"""Recording of what a server extension adds, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from mlxk_core._errors import ModelNotFound, PluginFailure
from mlxk_core._generation.service import GenerationService
from mlxk_core._host.hints import known
from mlxk_core._host.specs import ServerExtensionSpec
from mlxk_core.api.server import ServerSettings, route_shape

if TYPE_CHECKING:
    from mlxk_core._host.host import Host
    from mlxk_core._models.model import Model


_MIDDLEWARE = ("process_request", "process_resource", "process_response")


class _NoModels:
    def names(self) -> list[str]:
        return []

    def get(self, name: str, /) -> Model:
        raise ModelNotFound(name)

    def loaded(self, name: str, /) -> list[Model]:
        raise ModelNotFound(name)


class _NoMetric:
    def add(self, amount: float = 1, **labels: str) -> None: ...

    def observe(self, value: float) -> None: ...


class _NoMetrics:
    def counter(self, name: str, help: str, **options: Any) -> _NoMetric:
        return _NoMetric()

    def histogram(self, name: str, help: str, **options: Any) -> _NoMetric:
        return _NoMetric()

    def gauge(self, name: str, help: str, read: Any) -> None: ...


class Claims:
    """The routes and request fields that are taken: those of the server, and of the extensions before."""

    def __init__(self) -> None:
        server = known("server")
        self._routes = {route_shape(path): f"{path} of the server" for path in server["routes"]}
        self._fields = dict.fromkeys(server["fields"], "the server")

    def check_route(self, path: str) -> None:
        """Raise `ValueError` if a path is none or is taken."""
        if not isinstance(path, str) or not path.startswith("/"):
            raise ValueError(f"the route {path!r} does not begin with a slash")
        if owner := self._routes.get(route_shape(path)):
            raise ValueError(f"the route {path} is taken by {owner}")

    def check_field(self, name: str) -> None:
        """Raise `ValueError` if a field is taken."""
        if owner := self._fields.get(name):
            raise ValueError(f"the request field {name} is taken by {owner}")

    def add(self, owner: str, routes: Iterable[str], fields: Iterable[str]) -> None:
        """Take the routes and fields of an extension that succeeded."""
        self._routes |= {route_shape(path): f"{path} of {owner}" for path in routes}
        self._fields |= dict.fromkeys(fields, owner)


class ExtensionRecorder:
    """A `ServerContext` that keeps the names of routes and middleware and serves nothing."""

    def __init__(self, host: Host, claims: Claims) -> None:
        self._claims = claims
        self.host = host
        self.service = GenerationService(host)  # starts no thread before its first request
        self.models = _NoModels()
        self.metrics = _NoMetrics()
        self.settings = ServerSettings(
            max_tokens=None, hide_reasoning=False, places=1, authenticated=False, body=1 << 20, heartbeat=10
        )
        self.routes: list[str] = []
        self.middleware: list[str] = []
        self.fields: list[str] = []

    def add_route(self, path: str, resource: object, **options: Any) -> None:
        self._claims.check_route(path)
        if route_shape(path) in map(route_shape, self.routes):
            raise ValueError(f"the route {path} is added twice")
        self.routes.append(path)

    def add_request_field(self, name: str, handler: object) -> None:
        self._claims.check_field(name)
        self.fields.append(name)

    def add_middleware(self, component: object) -> None:
        name = type(component).__name__
        if not any(callable(getattr(component, method, None)) for method in _MIDDLEWARE):
            raise TypeError(f"middleware {name} has none of {', '.join(_MIDDLEWARE)}")
        self.middleware.append(name)

    def additions(self) -> tuple[str, ...]:
        """Return everything that was added, each after its kind."""
        return (
            *(f"route {path}" for path in self.routes),
            *(f"middleware {name}" for name in self.middleware),
            *(f"request field {name}" for name in self.fields),
        )

    def respond(self, *args: Any, **options: Any) -> None:
        raise RuntimeError("no request can be answered before the server has started")

    def on_disconnect(self, req: Any, callback: Callable[[], None] | None) -> None: ...

    def __getattr__(self, name: str) -> Any:
        """Accept and ignore whatever else a newer server offers."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **options: None


def additions(
    host: Host,
    spec: ServerExtensionSpec,
    claims: Claims,
    *,
    around: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - has no state
) -> tuple[str, ...]:
    """Return what `spec` adds, and take it in `claims`: `route /ping`, `middleware Stamp`.

    Empty if its plugin fails, which is recorded. `around` is entered while its target is called.
    """
    recorder = ExtensionRecorder(host, claims)

    def add() -> None:
        with around:
            host.load(spec.target)(recorder)
        claims.add(f"server extension {spec.name}", recorder.routes, recorder.fields)

    try:
        return recorder.additions() if host.attempt(spec, add) else ()
    except PluginFailure:  # strict; on record
        return ()
