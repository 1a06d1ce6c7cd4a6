"""Server status: `/health` and `/livez` for supervisors, `/v1/status` for people, `/metrics` for Prometheus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import falcon
import msgspec

from mlxk_core import __version__
from mlxk_core.api.generation import GenerationService, ResidentModel, ServiceStatus
from mlxk_serve.config import Limits, ServeConfig
from mlxk_serve.http.capacity import Capacity
from mlxk_serve.http.responder import Responder
from mlxk_serve.observability.line_writer import dropped_lines
from mlxk_serve.observability.metrics import CONTENT_TYPE, MetricRegistry, Samples

HealthWord = Literal["ok", "engine_stalled", "engine_failed", "shutting_down"]


class HealthObject(msgspec.Struct):
    """`GET /health`."""

    status: HealthWord
    seconds_since_progress: float
    loading: str | None


class LiveObject(msgspec.Struct):
    """`GET /livez`."""

    status: Literal["ok"] = "ok"


class Health:
    """200 while requests are answered; 503 when there is work without progress, when the engine has ended after an
    error, and during shutdown."""

    def __init__(
        self, service: GenerationService, limits: Limits, draining: threading.Event, resumed_at: Callable[[], float]
    ) -> None:
        self._service = service
        self._limits = limits
        self._draining = draining
        self._resumed_at = resumed_at

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        status = self._service.status()
        # A process that was suspended (SIGSTOP, sleep) made no progress meanwhile; that is not a stall.
        silent = min(status.seconds_since_progress, time.monotonic() - self._resumed_at())
        word: HealthWord = "ok"
        if silent > self._limits.stalled_engine:
            word = "engine_stalled"
        elif self._draining.is_set():
            word = "shutting_down"
        elif status.failed:
            word = "engine_failed"
        resp.status = falcon.HTTP_200 if word == "ok" else falcon.HTTP_503
        resp.set_header("cache-control", "no-store")
        _send(resp, HealthObject(word, round(silent, 3), status.loading))


class Live:
    """200 while the process serves its loop."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.set_header("cache-control", "no-store")
        _send(resp, LiveObject())


class StatusObject(msgspec.Struct, kw_only=True):
    """`GET /v1/status`. The rest is the status of the generation service."""

    version: str
    uptime_seconds: float
    draining: bool
    responses: int
    queue: int


class Status:
    """Status of the server."""

    def __init__(
        self, service: GenerationService, responder: Responder, config: ServeConfig, draining: threading.Event
    ) -> None:
        self._service = service
        self._responder = responder
        self._config = config
        self._draining = draining
        self._started = time.monotonic()

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        server = StatusObject(
            version=__version__,
            uptime_seconds=round(time.monotonic() - self._started, 1),
            draining=self._draining.is_set(),
            responses=len(self._responder),
            queue=self._config.queue,
        )
        _send(resp, msgspec.to_builtins(self._service.status()) | msgspec.to_builtins(server))


class Metrics:
    """`GET /metrics`."""

    def __init__(self, registry: MetricRegistry) -> None:
        self._registry = registry

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = CONTENT_TYPE
        resp.data = self._registry.render()


def add_service_metrics(registry: MetricRegistry, service: GenerationService, config: ServeConfig) -> None:
    """Register the metrics of the generation service."""

    def gauge(name: str, help: str, read: Callable[[ServiceStatus], float]) -> None:
        registry.gauge(name, help, lambda: [({}, read(service.status()))])

    gauge("mlxk_requests_running", "Requests in a batch.", lambda s: s.active)
    gauge("mlxk_requests_running_limit", "Requests that run at once.", lambda s: s.concurrency)
    reserve = "Requests that run in addition, of clients that have none running."
    gauge("mlxk_requests_running_reserve", reserve, lambda s: s.reserve)
    gauge("mlxk_requests_waiting", "Requests that wait for a model or a place.", lambda s: s.waiting)
    gauge("mlxk_queue_limit", "Requests of one client that may wait.", lambda s: config.queue)
    gauge("mlxk_memory_budget_bytes", "The budget for loaded models.", lambda s: s.memory)
    gauge("mlxk_seconds_since_progress", "0 without work.", lambda s: s.seconds_since_progress)
    registry.gauge("mlxk_model_memory_bytes", "Memory of a loaded model.", _by_model(service, lambda m: m.memory))
    held = "Memory of the prompt cache of a loaded model, part of mlxk_model_memory_bytes."
    registry.gauge("mlxk_prompt_cache_bytes", held, _by_model(service, lambda m: m.prompt_cache))
    registry.total("mlxk_log_lines_dropped_total", "Log lines that could not be written.", dropped_lines)
    for name, help in (
        ("loads", "Models loaded."),
        ("unloads", "Models unloaded."),
        ("engine_failures", "Failures inside an engine."),
        ("steps", "Steps of all engines."),
        ("cancelled", "Generations cancelled."),
        ("failed", "Generations failed."),
    ):
        registry.total(f"mlxk_{name}_total", help, _reader(service, name))


def add_connection_metrics(registry: MetricRegistry, capacity: Capacity) -> None:
    """Register the metrics of connections."""
    registry.gauge("mlxk_connections", "Open connections.", lambda: [({}, len(capacity.connections))])
    registry.gauge("mlxk_connections_limit", "Connections that may be open.", lambda: [({}, capacity.limit)])
    closed = "Connections without a complete request that were closed to make room for others."
    registry.total("mlxk_connections_closed_for_room_total", closed, lambda: capacity.closed)


def _by_model(service: GenerationService, read: Callable[[ResidentModel], int]) -> Callable[[], Samples]:
    return lambda: [
        ({"model": model.name, "revision": model.revision or "", "backend": model.backend}, read(model))
        for model in service.status().models
    ]


def _reader(service: GenerationService, name: str) -> Callable[[], float]:
    return lambda: float(getattr(service.status().counters, name))


def _send(resp: falcon.Response, value: Any) -> None:
    resp.content_type = falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(value)
