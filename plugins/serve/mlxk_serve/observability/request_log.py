"""Request records: one log line and a few metrics for every request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mlxk_core.api.errors import MlxkError, ShuttingDown, SystemLimit, type_and_message
from mlxk_core.api.generation import Delta, Event, Finished, Started, ToolCallDelta
from mlxk_core.api.server import ApiError
from mlxk_serve.http.errors import CONCEALED, api_error
from mlxk_serve.observability import log
from mlxk_serve.observability.log import LOGGER
from mlxk_serve.observability.metrics import MetricRegistry
from mlxk_serve.observability.repeated import RepeatedMessage

DISCONNECTED = 499
_SYSTEM_LIMITS = RepeatedMessage(logging.ERROR)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SPEEDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class RequestMetrics:
    """The metrics of requests, in one registry."""

    def __init__(self, registry: MetricRegistry) -> None:
        self.requests = registry.counter(
            "mlxk_requests_total",
            "Requests by route and status (499: the client disconnected).",
            labels=("route", "status"),
        )
        self.disconnects = registry.counter("mlxk_disconnects_total", "Requests cancelled because the client left.")
        self.prompt_tokens = registry.counter("mlxk_prompt_tokens_total", "Prompt tokens of finished generations.")
        self.cached_tokens = registry.counter("mlxk_cached_tokens_total", "Prompt tokens taken from the prompt cache.")
        self.completion_tokens = registry.counter("mlxk_completion_tokens_total", "Generated tokens.")
        self.first_token = registry.histogram(
            "mlxk_time_to_first_token_seconds", "From the request to its first token.", bounds=_SECONDS
        )
        self.speed = registry.histogram(
            "mlxk_tokens_per_second", "Tokens per second of one generation, after its first token.", bounds=_SPEEDS
        )


@dataclass(eq=False)
class RequestRecord:
    """Log record and metrics of one request. Call `close` once, after the last byte."""

    metrics: RequestMetrics
    id: str
    method: str
    path: str
    route: str = "unknown"
    status: int = 200
    model: str | None = None
    error: str | None = None
    disconnected: bool = False
    began: float = field(default_factory=time.monotonic)
    first_token: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int = 0
    on_close: Callable[[], None] | None = None
    _speed: float | None = None
    _closed: bool = False

    def take(self, event: Event) -> None:
        """Count an event of a generation."""
        if isinstance(event, (Delta, ToolCallDelta)):
            if self.first_token is None:
                self.first_token = time.monotonic() - self.began
                self.metrics.first_token.observe(self.first_token)
        elif isinstance(event, Started):
            for note in event.notes:
                log.event(logging.INFO, note, request_id=self.id)
        elif isinstance(event, Finished):
            usage, seconds = event.usage, event.timings.generation
            self.prompt_tokens = (self.prompt_tokens or 0) + usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens
            self.metrics.prompt_tokens.add(usage.prompt_tokens)
            self.metrics.cached_tokens.add(usage.cached_tokens)
            self.metrics.completion_tokens.add(usage.completion_tokens)
            if usage.completion_tokens > 1 and seconds > 0:
                self._speed = (usage.completion_tokens - 1) / seconds
                self.metrics.speed.observe(self._speed)

    def fail(self, error: Exception) -> ApiError:
        """Return what the client sees of `error`, and log the rest."""
        seen = api_error(error)
        self.error = seen.code
        if seen.status >= 500 and not isinstance(error, ShuttingDown):
            facts = {"request_id": self.id, "model": self.model}
            # A damaged model gets one line, at every request for it.
            unexpected = error if not isinstance(error, (MlxkError, ApiError)) else _cause(error)
            if isinstance(error, SystemLimit):
                _SYSTEM_LIMITS.log(type_and_message(error))
            else:
                LOGGER.error("%s", type_and_message(error), exc_info=unexpected, extra={"facts": facts})
        return seen

    def close(self) -> None:
        """Write the log line and count the request."""
        if self._closed:
            return
        self._closed = True
        if self.on_close is not None:
            self.on_close()
        if self.disconnected:
            self.status = DISCONNECTED
            self.metrics.disconnects.add()
        self.metrics.requests.add(route=self.route, status=str(self.status))
        log.event(
            logging.INFO,
            f"{self.method} {self.path} {self.status}",
            ms=round((time.monotonic() - self.began) * 1000, 1),
            model=self.model,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens if self.prompt_tokens is not None else None,
            first_token_ms=None if self.first_token is None else round(self.first_token * 1000, 1),
            tokens_per_second=None if self._speed is None else round(self._speed, 1),
            error=self.error,
            request_id=self.id,
        )


def _cause(error: Exception) -> BaseException | None:
    """Return the cause of a failure of an engine or a plugin, of which clients see nothing."""
    return error.__cause__ if isinstance(error, CONCEALED) else None
