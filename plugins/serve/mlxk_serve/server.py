"""Startup, main loop and shutdown of one server."""

from __future__ import annotations

import gc
import resource
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from enum import Enum, auto
from types import TracebackType
from typing import Any

import falcon

from mlxk_core import __version__
from mlxk_core.api.errors import InsufficientMemory
from mlxk_core.api.generation import GenerationService
from mlxk_core.api.host import Host
from mlxk_core.api.server import ApiError, Operation, ServerSettings
from mlxk_core.api.text import plural
from mlxk_serve.app import build_app
from mlxk_serve.catalog import Catalog
from mlxk_serve.config import ServeConfig
from mlxk_serve.extensions import ServerResources, add_extensions
from mlxk_serve.http import bind
from mlxk_serve.http.access_control import AccessControl
from mlxk_serve.http.admission import SHARE
from mlxk_serve.http.client_ids import ClientIds
from mlxk_serve.http.http_server import HttpServer
from mlxk_serve.http.responder import Responder
from mlxk_serve.http.turns import Turns
from mlxk_serve.observability.log import LOGGER
from mlxk_serve.observability.metrics import MetricRegistry
from mlxk_serve.observability.request_log import RequestMetrics, RequestRecord
from mlxk_serve.openai.extension_fields import ExtensionFields
from mlxk_serve.routes.completions import ChatCompletions, Completions
from mlxk_serve.routes.model_loading import LoadModel, UnloadModel
from mlxk_serve.routes.models import ModelResource, ModelsResource
from mlxk_serve.routes.openapi_route import OpenApi
from mlxk_serve.routes.status import Health, Live, Metrics, Status, add_connection_metrics, add_service_metrics
from mlxk_serve.routes.tokens import ApplyTemplate, Detokenize, Tokenize, TokenizerInfoResource

_TURN = 1.0
_QUICK_TURN = 0.05
_WRITING = 0.02
"""Seconds in which the loop lets the errors of responses that were cut off be written: each one would wake it."""


class End(Enum):
    """Why a server ended."""

    DONE = auto()
    """As requested: the open responses were completed, or as many as the time allowed."""
    INTERRUPTED = auto()
    """By a second Ctrl-C."""
    CHANGED = auto()
    """Its code has changed."""


class Requests:
    """Requested actions of a running server. Written by signal handlers, read by the main loop."""

    def __init__(self) -> None:
        self.interrupts = 0
        self.terminations = 0

    @property
    def stop(self) -> bool:
        """Whether the server should stop."""
        return self.interrupts > 0 or self.terminations > 0

    @property
    def cut(self) -> bool:
        """Whether open responses should be cut off now: a signal has come twice."""
        return self.interrupts > 1 or self.terminations > 1


class Server:
    """A server with its sockets, its models and its application. It accepts connections in `run`.

    Raises the errors of its options, and of models to start with. A context manager that releases everything.
    """

    def __init__(self, host: Host, config: ServeConfig, *, note: Callable[[str], None] = LOGGER.warning) -> None:
        self.config = config
        self.requests = Requests()
        self._draining = threading.Event()
        self._sockets: list[socket.socket] = []
        self._unix_file = bind.UnixFile(config.unix) if config.unix else None
        with ExitStack() as undo:
            undo.callback(self._close_sockets)
            self._open_sockets()
            self.service = GenerationService(
                host,
                memory=config.memory,
                concurrency=config.concurrency,
                queue=config.places * SHARE - config.concurrency,
                ttl=config.ttl,
                thinking_budget=config.thinking_budget,
                generic_tools=config.generic_tools,
                shared=True,
            )
            undo.callback(self.service.close, config.limits.close_time)
            turns, client_ids = Turns(), ClientIds(config.keys)
            self.responder = Responder(config, self.service, turns, client_ids)
            undo.callback(self.responder.stop, config.limits.close_time)
            self.catalog = Catalog(host, self.service, dict(config.aliases), generic_tools=config.generic_tools)
            self.metrics = MetricRegistry()
            add_service_metrics(self.metrics, self.service, config)
            self._request_metrics = RequestMetrics(self.metrics)
            self._access = AccessControl(config)
            self._fields = ExtensionFields()
            self.models = self._preload()
            self._described: dict[str, Sequence[Operation]] = {}
            app, routes = self._application()
            host.announce_failures(note)
            self.extensions = add_extensions(app, self._resources(host), self._access, routes)
            self.http = HttpServer(
                app,
                self._sockets,
                check_access=self._access.check,
                errors=self.responder.errors,
                on_rejected=self._on_rejected,
                limits=config.limits,
                turns=turns,
                client_ids=client_ids,
                files=_file_limit(),
                probes_at_once=not any(extension.middleware for extension in self.extensions),
            )
            add_connection_metrics(self.metrics, self.http.capacity)
            undo.pop_all()

    @property
    def info(self) -> Mapping[str, Any]:
        """Return what `--json` prints at the start."""
        config = self.config
        return {
            "version": __version__,
            "urls": self.urls,
            "base_url": None if config.unix else f"{self.urls[0]}/v1",
            "port": None if config.unix else self._sockets[0].getsockname()[1],
            "unix": str(config.unix) if config.unix else None,
            "models": self.models,
            "auth": bool(config.keys),
            "queue": config.queue,
            "concurrency": config.concurrency,
            "ttl": config.ttl,
            "memory": self.service.status().memory,
            "max_tokens": config.max_tokens,
            "extensions": [asdict(extension) for extension in self.extensions],
        }

    # The life of a server.

    def run(self, ready: Callable[[Server], None], changed: Callable[[], bool] | None = None) -> End:
        """Accept connections, call `ready`, and serve until a signal asks for the end or `changed` returns True."""
        gc.freeze()  # modules and routes: a collection that looks at them holds the interpreter's lock for 0.1 s
        self.http.listen()
        ready(self)
        restart = self.main_loop(changed)
        self.shutdown(restart)
        if self.requests.interrupts > 1:
            return End.INTERRUPTED
        return End.CHANGED if restart and not self.requests.stop else End.DONE

    def main_loop(self, changed: Callable[[], bool] | None) -> bool:
        """Serve until the server is to end. Returns whether `changed` is the reason."""
        while not self.requests.stop:
            self.http.turn(_TURN)
            if changed is not None and changed():
                return True
        return False

    def shutdown(self, restart: bool) -> None:
        """Accept nothing new, wait for open responses, and cut off those that take too long."""
        limits = self.config.limits
        self.drain()
        began = time.monotonic()
        cut_at: float | None = None
        self.http.turn(0)
        if busy := sum(connection.busy for connection in self.http.connections):
            LOGGER.info("finishing %s; press Ctrl-C again to cut them off", plural(busy, "open response"))
        while True:
            self.http.close_idle()
            now = time.monotonic()
            wait = limits.terminate_time if self.requests.terminations or restart else limits.drain_time
            if cut_at is None and (self.requests.cut or now - began >= wait):
                LOGGER.warning("cutting off open responses")
                self.responder.cut()
                cut_at = now
            if not self.http.connections:
                return
            if cut_at is not None:
                # Their errors are being written: on a busy machine that of hundreds takes longer than those of a few.
                if now - cut_at >= (limits.longest_cut_time if len(self.responder) else limits.cut_time):
                    return
                time.sleep(_WRITING)
            self.http.turn(_QUICK_TURN)

    def drain(self) -> None:
        """Accept no connections and no requests; open responses continue."""
        self._draining.set()
        self.service.drain()
        self.http.stop_listening()
        if self._unix_file:
            self._unix_file.remove()

    def close(self) -> bool:
        """Release everything. Returns False if the engine did not end: then only ending the process is left."""
        limits = self.config.limits
        if not self._draining.is_set():
            self.drain()
        self.responder.cut()
        self.http.close(limits.cut_time)
        self.responder.stop(limits.close_time)
        return self.service.close(limits.close_time)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Startup.

    def _open_sockets(self) -> None:
        config = self.config
        if self._unix_file:
            self._sockets = [self._unix_file.open()]
        else:
            self._sockets = bind.open_tcp(config.hosts or bind.LOOPBACK, config.port)
        self.urls = bind.urls(self._sockets)

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
        if self._unix_file:
            self._unix_file.remove()

    def _preload(self) -> list[str]:
        models = [self.catalog.pin(reference) for reference in dict.fromkeys(self.config.models)]
        for model in models:
            LOGGER.info("loading %s", model.name)
            self.service.preload(model)
        lost = [model.name for model in models if not self.service.is_loaded(model)]
        if len(lost) > self.service.status().counters.expired:  # those that were idle for --ttl may be gone
            raise InsufficientMemory(
                f"--model: the models do not fit into the memory budget together; unloaded again: {', '.join(lost)}. "
                "Name fewer, or raise --memory.",
                models=lost,
            )
        return [model.name for model in models]

    def _application(self) -> tuple[falcon.App, dict[str, object]]:
        routes: dict[str, object] = {
            "/v1/models": ModelsResource(self.catalog, self.responder),
            "/v1/models/{model:path}": ModelResource(self.catalog),
            "/v1/chat/completions": ChatCompletions(self.catalog, self.responder, self.config, self._fields),
            "/v1/completions": Completions(self.catalog, self.responder, self.config, self._fields),
            "/v1/models/load": LoadModel(self.catalog, self.service, self.responder),
            "/v1/models/unload": UnloadModel(self.catalog, self.service, self.responder),
            "/tokenize": Tokenize(self.catalog, self.service, self.responder),
            "/detokenize": Detokenize(self.catalog, self.service, self.responder),
            "/apply-template": ApplyTemplate(self.catalog, self.service, self.responder),
            "/tokenizer_info": TokenizerInfoResource(self.catalog, self.service, self.responder),
            "/v1/status": Status(self.service, self.responder, self.config, self._draining),
            "/health": Health(self.service, self.config.limits, self._draining, self._resumed_at),
            "/livez": Live(),
            "/metrics": Metrics(self.metrics),
            "/openapi.json": OpenApi(self._described),
        }
        app = build_app(routes, metrics=self._request_metrics, access=self._access, errors=self.responder.errors)
        return app, routes

    def _resources(self, host: Host) -> ServerResources:
        config = self.config
        settings = ServerSettings(
            max_tokens=config.max_tokens,
            hide_reasoning=config.hide_reasoning,
            places=config.places,
            authenticated=bool(config.keys),
            body=config.limits.body,
            heartbeat=config.limits.heartbeat,
            allow_pull=config.allow_pull,
            generic_tools=config.generic_tools,
        )
        return ServerResources(
            host, self.service, self.catalog, self.metrics, settings, self.responder, self._fields, self._described
        )

    def _resumed_at(self) -> float:
        return self.http.resumed_at

    def _on_rejected(self, id: str, method: str, path: str, error: ApiError) -> None:
        """Count and log a request that never reached the application."""
        record = RequestRecord(self._request_metrics, id, method, path, route="rejected")
        record.status, record.error = error.status, error.code
        record.close()


def _file_limit() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
