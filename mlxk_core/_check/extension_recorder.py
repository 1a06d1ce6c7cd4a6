"""Recording of what a server extension adds, without a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlxk_core._errors import ModelNotFound, PluginFailure
from mlxk_core._generation.service import GenerationService
from mlxk_core._host.specs import ServerExtensionSpec
from mlxk_core.api.server import ServerSettings

if TYPE_CHECKING:
    from mlxk_core._host.host import Host
    from mlxk_core._models.model import Model


class _NoModels:
    def names(self) -> list[str]:
        return []

    def get(self, name: str, /) -> Model:
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


class ExtensionRecorder:
    """A `ServerContext` that keeps the names of routes and middleware and serves nothing."""

    def __init__(self, host: Host) -> None:
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
        self.routes.append(path)

    def add_request_field(self, name: str, handler: object) -> None:
        self.fields.append(name)

    def add_middleware(self, component: object) -> None:
        self.middleware.append(type(component).__name__)

    def respond(self, *args: Any, **options: Any) -> None:
        raise RuntimeError("no request can be answered before the server has started")

    def on_disconnect(self, req: Any, callback: Callable[[], None] | None) -> None: ...

    def __getattr__(self, name: str) -> Any:
        """Accept and ignore whatever else a newer server offers."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **options: None


def additions(host: Host, spec: ServerExtensionSpec) -> tuple[str, ...]:
    """Return what `spec` adds: `route /ping`, `middleware Stamp`. Empty if its plugin fails, which is recorded."""
    recorder = ExtensionRecorder(host)

    def extend() -> None:
        host.load(spec.target)(recorder)

    try:
        if not host.attempt(spec, extend):
            return ()
    except PluginFailure:  # strict; on record
        return ()
    return (
        *(f"route {path}" for path in recorder.routes),
        *(f"middleware {name}" for name in recorder.middleware),
        *(f"request field {name}" for name in recorder.fields),
    )
