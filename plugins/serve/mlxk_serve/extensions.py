"""Doors for plugins: what the entry points of group `mlxk.serve` may add to a server before it lets anybody in."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points

import falcon

from mlxk_core.api.errors import PluginFailure
from mlxk_core.api.generation import GenerationService
from mlxk_core.api.host import Host
from mlxk_serve.context import Parts
from mlxk_serve.observability.metrics import Registry

GROUP = "mlxk.serve"
_FIELD = re.compile(r"\{[^}]*\}")


class ServerDoor:
    """What a plugin's callable gets. Everything it adds takes effect together, if the callable returns."""

    def __init__(self, parts: Parts, taken: Sequence[str]) -> None:
        self.host: Host = parts.host
        self.service: GenerationService = parts.service
        self.metrics: Registry = parts.registry
        """Counters, gauges and histograms for `/metrics`."""
        self._taken = {_shape(path): path for path in taken}
        self.routes: dict[str, object] = {}
        self.middleware: list[object] = []

    def add_route(self, path: str, resource: object) -> None:
        """Serves `path` by a Falcon resource. The API key is asked for as everywhere. Raises `ValueError` when the
        path is taken: Falcon itself would silently replace the first."""
        shape = _shape(path)
        if shape in self._taken:
            raise ValueError(f"the route {path} is taken by {self._taken[shape]}")
        self._taken[shape] = path
        self.routes[path] = resource

    def add_middleware(self, middleware: object) -> None:
        """A Falcon middleware component around every request, inside mlxk's own."""
        self.middleware.append(middleware)


def _shape(path: str) -> str:
    """Two paths of one shape would answer the same requests."""
    return _FIELD.sub("{}", path).rstrip("/") or "/"


def open_doors(
    app: falcon.App,
    parts: Parts,
    routes: Sequence[str],
    *,
    note: Callable[[str], None],
    points: Sequence[EntryPoint] | None = None,
) -> list[str]:
    """Lets every installed plugin add to `app`; gives their names. One that fails adds nothing and is noted.

    A plugin that is disabled is left out, by the name of its entry point or of its distribution.
    """
    found = entry_points(group=GROUP) if points is None else points
    disabled = _disabled(parts.host)
    taken, opened = list(routes), []
    for point in sorted(found, key=lambda point: (point.name, point.value)):
        distribution = point.dist.name if point.dist else None
        if {point.name, distribution} & disabled:
            continue
        metrics = parts.registry.names()
        try:
            server = ServerDoor(parts, taken)
            point.load()(server)
            _apply(app, server)
        except (Exception, SystemExit) as error:
            parts.registry.remove(parts.registry.names() - metrics)
            owner = f"{point.name} ({distribution or point.value})"
            failure = PluginFailure(f"Plugin {owner} failed in {GROUP}: {type(error).__name__}: {error}")
            if parts.host.strict:
                raise failure from error
            note(f"mlxk: {failure}")
            continue
        taken += server.routes
        opened.append(point.name)
    return opened


def _apply(app: falcon.App, server: ServerDoor) -> None:
    for path, resource in server.routes.items():
        app.add_route(path, resource)
    for middleware in server.middleware:
        app.add_middleware(middleware)


def _disabled(host: Host) -> set[str | None]:
    records = [record for record in host.plugins() if record.status == "disabled"]
    return {name for record in records for name in (record.name, record.distribution)}
