"""How the server is doing: `/health` and `/livez` for supervisors, `/v1/status` for people, `/metrics`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import falcon
import msgspec

from mlxk_core import __version__
from mlxk_core.api.generation import GenerationService, ServiceStatus
from mlxk_serve.context import Parts
from mlxk_serve.observability.metrics import CONTENT_TYPE, Registry


def _give(resp: falcon.Response, value: Any) -> None:
    resp.content_type = falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(value)


class Health:
    """200 while answers can be had: 503 when there is work and the engine shows no sign of life, or in a drain."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        status = self._parts.service.status()
        silent = status.seconds_since_progress
        word = "ok"
        if silent > self._parts.config.limits.stalled_engine:
            word = "engine_stalled"
        elif self._parts.draining.is_set():
            word = "shutting_down"
        resp.status = falcon.HTTP_200 if word == "ok" else falcon.HTTP_503
        resp.set_header("cache-control", "no-store")
        _give(resp, {"status": word, "seconds_since_sign_of_life": round(silent, 3), "loading": status.loading})

    on_head = on_get


class Live:
    """200 while the process turns its loop."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.set_header("cache-control", "no-store")
        _give(resp, {"status": "ok"})

    on_head = on_get


class Status:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        parts, status = self._parts, self._parts.service.status()
        _give(
            resp,
            {
                "version": __version__,
                "uptime_seconds": round(time.monotonic() - parts.started, 1),
                "draining": parts.draining.is_set(),
                "answers": len(parts.replies),
                **asdict(status),
            },
        )


class Metrics:
    def __init__(self, parts: Parts) -> None:
        self._registry = parts.registry

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = CONTENT_TYPE
        resp.text = self._registry.render()


def add_service_metrics(registry: Registry, service: GenerationService) -> None:
    """What the generation service knows of itself, read when somebody scrapes."""

    def gauge(name: str, help: str, read: Any) -> None:
        registry.gauge(name, help, lambda: _samples(read(service.status())))

    gauge("mlxk_requests_running", "Requests in a batch.", lambda s: s.active)
    gauge("mlxk_requests_waiting", "Requests that wait for a model or a place.", lambda s: s.waiting)
    gauge("mlxk_queue_limit", "How many requests may wait.", lambda s: s.queue)
    gauge("mlxk_memory_budget_bytes", "The budget for loaded models.", lambda s: s.memory)
    gauge("mlxk_seconds_since_sign_of_life", "0 without work.", lambda s: s.seconds_since_progress)
    gauge("mlxk_model_memory_bytes", "What a loaded model holds.", _by_model)
    for name, help in (
        ("loads", "Models loaded."),
        ("unloads", "Models unloaded."),
        ("engine_failures", "Failures inside an engine."),
        ("steps", "Steps of all engines."),
        ("cancelled", "Generations cancelled."),
        ("failed", "Generations failed."),
    ):
        registry.add(f"mlxk_{name}_total", help, _ServiceCounter(service, name))


def _by_model(status: ServiceStatus) -> Iterable[tuple[Mapping[str, str], float]]:
    return [({"model": m.name, "revision": m.revision or "", "backend": m.backend}, m.memory) for m in status.models]


def _samples(value: Any) -> Iterable[tuple[Mapping[str, str], float]]:
    return [({}, value)] if isinstance(value, (int, float)) else value


class _ServiceCounter:
    """A count that the service keeps itself."""

    kind = "counter"

    def __init__(self, service: GenerationService, name: str) -> None:
        self._service = service
        self._name = name

    def samples(self) -> Iterable[tuple[str, Mapping[str, str], float]]:
        return [("", {}, getattr(self._service.status().counters, self._name))]
