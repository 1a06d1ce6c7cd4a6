"""One server, put together: sockets first, then the service, the models it starts with, and the application."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any

from mlxk_core import __version__
from mlxk_core.api.errors import InsufficientMemory
from mlxk_core.api.generation import GenerationService
from mlxk_core.api.host import Host
from mlxk_serve.app import build
from mlxk_serve.catalog import Catalog
from mlxk_serve.config import ServeConfig
from mlxk_serve.context import Parts
from mlxk_serve.extensions import add_extensions
from mlxk_serve.http import sockets
from mlxk_serve.http.access_control import Guard
from mlxk_serve.http.errors import ApiError
from mlxk_serve.http.responses import Replies
from mlxk_serve.http.waitress_server import HttpServer
from mlxk_serve.observability.log import LOGGER
from mlxk_serve.observability.metrics import Registry
from mlxk_serve.observability.request_log import Access, AccessMetrics
from mlxk_serve.routes.status import add_service_metrics


class Server:
    """A server that has its sockets and its models and lets nobody in before `http.listen()`.

    Raises what is wrong with the options, or with a model to start with. A context manager that gives everything back.
    """

    def __init__(
        self,
        host: Host,
        config: ServeConfig,
        *,
        note: Callable[[str], None] = LOGGER.warning,
    ) -> None:
        self.config = config
        self._sockets = (
            [sockets.open_unix(config.unix)]
            if config.unix
            else sockets.open_tcp(config.hosts or sockets.LOOPBACK, config.port)
        )
        self.urls = sockets.urls(self._sockets)
        self.service = GenerationService(
            host, memory=config.memory, concurrency=config.concurrency, queue=config.queue, ttl=config.ttl
        )
        try:
            self.parts = self._parts(host)
            self.models = self._preload()
            app, routes = build(self.parts)
            host.announce_failures(note)
            self.extensions = add_extensions(app, self.parts, routes)
            # A thread for every answer that is let in, and some that are never taken by one, so that `/health` answers.
            self.http = HttpServer(
                app,
                self._sockets,
                guard=self.parts.guard.check,
                refused=self._refused,
                threads=config.concurrency + config.queue + config.limits.threads_in_reserve,
                limits=config.limits,
            )
        except BaseException:
            self._close_sockets()
            self.service.close(config.limits.close_time)
            raise

    @property
    def info(self) -> Mapping[str, Any]:
        """What `--json` prints at the start."""
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

    def drain(self) -> None:
        """Lets nobody in any more; those inside go on."""
        self.parts.draining.set()
        self.service.drain()
        self.http.stop_listening()
        if self.config.unix:
            self.config.unix.unlink(missing_ok=True)

    def cut(self) -> None:
        """Ends the answers that are being given."""
        self.parts.replies.cut()

    def close(self) -> bool:
        """Gives everything back. False if the engine did not end: then only ending the process is left."""
        limits = self.config.limits
        if not self.parts.draining.is_set():
            self.drain()
        self.cut()
        self.http.close(limits.cut_time)
        return self.service.close(limits.close_time)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _parts(self, host: Host) -> Parts:
        registry = Registry()
        add_service_metrics(registry, self.service)
        return Parts(
            config=self.config,
            host=host,
            service=self.service,
            catalog=Catalog(host, self.service.is_loaded),
            replies=Replies(self.config.concurrency + self.config.queue, self.service.full),
            registry=registry,
            access=AccessMetrics(registry),
            guard=Guard(self.config),
            draining=threading.Event(),
        )

    def _preload(self) -> list[str]:
        models = [self.parts.catalog.pin(reference) for reference in dict.fromkeys(self.config.models)]
        for model in models:
            LOGGER.info("loading %s", model.name)
            self.service.preload(model)
        lost = [model.name for model in models if not self.service.is_loaded(model)]
        if len(lost) > self.service.status().counters.expired:  # whose time was up meanwhile may go
            raise InsufficientMemory(
                f"The models of --model do not fit into the memory budget together: {', '.join(lost)} had to go. "
                "Name fewer, or raise --memory.",
                models=lost,
            )
        return [model.name for model in models]

    def _refused(self, id: str, method: str, path: str, refusal: ApiError) -> None:
        """Counts and logs what the application never saw."""
        access = Access(self.parts.access, id, method, path, route="refused")
        access.status, access.error = refusal.status, refusal.code
        access.close()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
        if self.config.unix:
            self.config.unix.unlink(missing_ok=True)
