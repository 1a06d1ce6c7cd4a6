"""Server extensions of plugins: each one is called once and adds all of its routes and middleware, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import falcon

from mlxk_core.api.generation import Event, Generation, GenerationRequest, GenerationService
from mlxk_core.api.hooks import ServerExtensionSpec
from mlxk_core.api.host import Host
from mlxk_core.api.server import (
    Cancellation,
    Client,
    ErrorEncoder,
    FieldHandler,
    Operation,
    ResponseEncoder,
    ServerExtension,
    ServerSettings,
    route_shape,
)
from mlxk_serve.app import add_route
from mlxk_serve.catalog import Catalog
from mlxk_serve.http.access_control import AccessControl
from mlxk_serve.http.extension_service import RequestService
from mlxk_serve.http.responder import Responder
from mlxk_serve.isolated_extension import (
    ExtensionGuard,
    IsolatedEncoder,
    IsolatedMetrics,
    IsolatedMiddleware,
    IsolatedResource,
)
from mlxk_serve.observability.metrics import MetricRegistry
from mlxk_serve.openai.extension_fields import ExtensionFields
from mlxk_serve.openai.openapi import describe


@dataclass(frozen=True)
class Route:
    """A route of an extension."""

    resource: object
    errors: ErrorEncoder | None = None
    authenticated: bool = True
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True)
class Extension:
    """Contributions of one extension to a server."""

    name: str
    routes: tuple[str, ...]
    middleware: tuple[str, ...]


@dataclass(frozen=True)
class Additions:
    """Routes and middleware that wait to be applied together. `taken` are the paths that exist already."""

    taken: Iterable[str]
    routes: dict[str, Route] = field(default_factory=dict)
    middleware: list[object] = field(default_factory=list)
    fields: dict[str, FieldHandler] = field(default_factory=dict)

    def add_route(self, path: str, route: Route) -> None:
        shape = route_shape(path)
        for known in (*self.taken, *self.routes):
            if route_shape(known) == shape:
                raise ValueError(f"the route {path} is taken by {known}")
        self.routes[path] = route


@dataclass(frozen=True)
class ServerResources:
    """Context that every extension of a server can use."""

    host: Host
    service: GenerationService
    models: Catalog
    metrics: MetricRegistry
    settings: ServerSettings
    responder: Responder
    fields: ExtensionFields
    described: dict[str, Sequence[Operation]]
    """What `/openapi.json` says of the routes of extensions."""


class Context:
    """The `ServerContext` of one extension."""

    def __init__(self, resources: ServerResources, additions: Additions, guard: ExtensionGuard) -> None:
        self._guard = guard
        self._responder = resources.responder
        self._additions = additions
        self._fields = resources.fields
        self.host: Host = resources.host
        self.service = cast("GenerationService", RequestService(resources.service))
        self.models: Catalog = resources.models
        self.metrics = IsolatedMetrics(guard, resources.metrics)
        self.settings: ServerSettings = resources.settings

    def add_route(
        self,
        path: str,
        resource: object,
        *,
        errors: ErrorEncoder | None = None,
        authenticated: bool = True,
        operations: Sequence[Operation] = (),
    ) -> None:
        self._additions.add_route(path, Route(resource, errors, authenticated, tuple(operations)))

    def add_middleware(self, component: object) -> None:
        self._additions.middleware.append(component)

    def add_request_field(self, name: str, handler: FieldHandler) -> None:
        self._fields.check(name, self._additions.fields)
        self._additions.fields[name] = handler

    def respond(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        requests: Sequence[GenerationRequest],
        encoder: ResponseEncoder,
        *,
        stream: bool,
    ) -> None:
        self._responder.respond(req, resp, requests, IsolatedEncoder(self._guard, encoder), stream=stream)

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
        self._responder.run(
            req,
            resp,
            self._guard.work(work),
            content_type=content_type,
            stream=stream,
            takes_place=takes_place,
            waits=waits,
            stream_error=stream_error and self._guard.stream_error(stream_error),
        )

    def events(self, generation: Generation, request: GenerationRequest) -> Iterator[Event]:
        return self._responder.events(generation, request)

    def hold(self, req: falcon.Request, size: int) -> None:
        self._responder.hold(req, size)

    def on_disconnect(self, req: falcon.Request, callback: Callable[[], None] | None) -> None:
        if callback is not None:
            callback = partial(self._guard.quietly, "a callback of on_disconnect", callback)
        self._responder.on_disconnect(req, callback)

    def client(self, req: falcon.Request) -> Client:
        return self._responder.client(req)


def add_extensions(
    app: falcon.App, resources: ServerResources, access: AccessControl, routes: Mapping[str, object]
) -> list[Extension]:
    """Add every extension of the host to `app`, which serves `routes` already. Returns those that succeeded; one that
    fails adds nothing and is on its plugin's record."""
    host, metrics = resources.host, resources.metrics
    served, added = dict(routes), []
    for spec in host.server_extensions():
        additions, guard = Additions(tuple(served)), ExtensionGuard(host, spec)
        before = metrics.names()
        if not host.attempt(spec, partial(_extend, spec, resources, served, additions, guard)):
            metrics.remove(metrics.names() - before)
            continue
        _apply(app, additions, resources.responder, access, guard)
        resources.fields.add({name: guard.field(name, handler) for name, handler in additions.fields.items()})
        resources.described.update(
            {path: route.operations for path, route in additions.routes.items() if route.operations}
        )
        served |= {path: route.resource for path, route in additions.routes.items()}
        middleware = tuple(type(component).__name__ for component in additions.middleware)
        added.append(Extension(spec.name, tuple(additions.routes), middleware))
    return added


def _extend(
    spec: ServerExtensionSpec,
    resources: ServerResources,
    served: Mapping[str, object],
    additions: Additions,
    guard: ExtensionGuard,
) -> None:
    extension: ServerExtension = resources.host.load(spec.target)
    extension(Context(resources, additions, guard))
    _check(served, additions)


def _check(served: Mapping[str, object], additions: Additions) -> None:
    """Raise Falcon's objections before anything is applied: Falcon cannot undo it."""
    trial = falcon.App()
    for path, resource in served.items():
        trial.add_route(path, resource)
    for path, route in additions.routes.items():
        trial.add_route(path, route.resource)
    for component in additions.middleware:
        trial.add_middleware(component)
    describe({path: route.operations for path, route in additions.routes.items()})


def _apply(
    app: falcon.App, additions: Additions, responder: Responder, access: AccessControl, guard: ExtensionGuard
) -> None:
    for path, route in additions.routes.items():
        add_route(app, path, IsolatedResource(guard, path, route.resource))
        if route.errors is not None:
            responder.errors.add(path, guard.errors(path, route.errors))
        if not route.authenticated:
            access.serve_without_key(path)
    for component in additions.middleware:
        app.add_middleware(IsolatedMiddleware(guard, component))
