"""Server extensions of plugins: each one is called once and adds all of its routes and middleware, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import falcon

from mlxk_core.api.generation import GenerationRequest, GenerationService
from mlxk_core.api.hooks import ServerExtensionSpec
from mlxk_core.api.host import Host
from mlxk_core.api.server import ErrorEncoder, ResponseEncoder, ServerExtension, ServerSettings
from mlxk_serve.catalog import Catalog
from mlxk_serve.context import Parts
from mlxk_serve.http.responses import stream, whole
from mlxk_serve.http.waitress_server import ON_DISCONNECT
from mlxk_serve.observability.metrics import Registry

_FIELD = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True)
class Route:
    """A route of an extension."""

    resource: object
    errors: ErrorEncoder | None = None
    authenticated: bool = True


@dataclass(frozen=True)
class Extension:
    """What one extension has added to a server."""

    name: str
    routes: tuple[str, ...]
    middleware: tuple[str, ...]


@dataclass(frozen=True)
class Additions:
    """Routes and middleware that wait to be applied together. `taken` are the paths that exist already."""

    taken: Iterable[str]
    routes: dict[str, Route] = field(default_factory=dict)
    middleware: list[object] = field(default_factory=list)

    def add_route(self, path: str, route: Route) -> None:
        shape = _shape(path)
        for known in (*self.taken, *self.routes):
            if _shape(known) == shape:
                raise ValueError(f"the route {path} is taken by {known}")
        self.routes[path] = route


class Context:
    """The `ServerContext` of one extension."""

    def __init__(self, parts: Parts, additions: Additions) -> None:
        self._parts = parts
        self._additions = additions
        self.host: Host = parts.host
        self.service: GenerationService = parts.service
        self.models: Catalog = parts.catalog
        self.metrics: Registry = parts.registry
        self.settings = ServerSettings(
            max_tokens=parts.config.max_tokens,
            hide_reasoning=parts.config.hide_reasoning,
            places=parts.config.concurrency + parts.config.queue,
            authenticated=bool(parts.config.keys),
        )

    def add_route(
        self, path: str, resource: object, *, errors: ErrorEncoder | None = None, authenticated: bool = True
    ) -> None:
        self._additions.add_route(path, Route(resource, errors, authenticated))

    def add_middleware(self, component: object) -> None:
        self._additions.middleware.append(component)

    def respond(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        requests: Sequence[GenerationRequest],
        encoder: ResponseEncoder,
        *,
        stream: bool,
    ) -> None:
        respond(self._parts, req, resp, requests, encoder, streamed=stream)

    def on_disconnect(self, req: falcon.Request, callback: Callable[[], None] | None) -> None:
        watch = req.env.get(ON_DISCONNECT)
        if watch is not None:  # absent in `falcon.testing`
            watch(callback)


def respond(
    parts: Parts,
    req: falcon.Request,
    resp: falcon.Response,
    requests: Sequence[GenerationRequest],
    encoder: ResponseEncoder,
    *,
    streamed: bool,
) -> None:
    """Run `requests` and write them to `resp`."""
    access = req.context.access
    if access.model is None and requests:
        access.model = requests[0].model.name
    reply = parts.replies.open(req.env, access, lambda: parts.service.submit_all(requests))
    if streamed:
        stream(reply, encoder, resp, heartbeat=parts.config.limits.heartbeat)
    else:
        whole(reply, encoder, resp)


def add_extensions(app: falcon.App, parts: Parts, routes: Mapping[str, object]) -> list[Extension]:
    """Add every extension of the host to `app`, which serves `routes` already. Returns those that succeeded; one that
    fails adds nothing and is on its plugin's record."""
    served, added = dict(routes), []
    for spec in parts.host.server_extensions():
        additions = Additions(tuple(served))
        metrics = parts.registry.names()
        if not parts.host.attempt(spec, partial(_extend, spec, parts, served, additions)):
            parts.registry.remove(parts.registry.names() - metrics)
            continue
        _apply(app, parts, additions)
        served |= {path: route.resource for path, route in additions.routes.items()}
        middleware = tuple(type(component).__name__ for component in additions.middleware)
        added.append(Extension(spec.name, tuple(additions.routes), middleware))
    return added


def _extend(spec: ServerExtensionSpec, parts: Parts, served: Mapping[str, object], additions: Additions) -> None:
    extension: ServerExtension = parts.host.load(spec.target)
    extension(Context(parts, additions))
    _check(served, additions)


def _check(served: Mapping[str, object], additions: Additions) -> None:
    """Raise what Falcon has against the additions, before any of them is applied: Falcon cannot take them back."""
    trial = falcon.App()
    for path, resource in served.items():
        trial.add_route(path, resource)
    for path, route in additions.routes.items():
        trial.add_route(path, route.resource)
    for component in additions.middleware:
        trial.add_middleware(component)


def _apply(app: falcon.App, parts: Parts, additions: Additions) -> None:
    for path, route in additions.routes.items():
        app.add_route(path, route.resource)
        if route.errors is not None:
            parts.error_encoders[path] = route.errors
        if not route.authenticated:
            parts.guard.serve_without_key(path)
    for component in additions.middleware:
        app.add_middleware(component)


def _shape(path: str) -> str:
    """Two paths of one shape would answer the same requests."""
    return _FIELD.sub("{}", path).rstrip("/") or "/"
