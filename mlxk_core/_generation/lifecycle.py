"""Life-cycle events of models and requests, and their delivery to the listeners of plugins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlxk_core._generation.event_backlog import EventBacklog
from mlxk_core._generation.events import FinishReason, Timings, Usage
from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.request_sizes import prompt_size
from mlxk_core._host.plugin import Plugin
from mlxk_core._isolation.isolation import Isolation
from mlxk_core._models.model import Model


@dataclass(frozen=True, kw_only=True)
class ModelLoaded:
    """A model has been loaded in `seconds`. `memory` is the size that it occupies, in bytes."""

    model: Model
    backend: str
    seconds: float
    memory: int


@dataclass(frozen=True, kw_only=True)
class ModelUnloaded:
    """A model has been unloaded."""

    model: Model
    backend: str


@dataclass(frozen=True, kw_only=True)
class RequestAccepted:
    """A request has been submitted. `id` is unique within its service."""

    id: int
    request: GenerationRequest


@dataclass(frozen=True, kw_only=True)
class RequestFinished:
    """A request is over. `reason` is None if it failed; then `error` says why."""

    id: int
    request: GenerationRequest
    reason: FinishReason | None
    usage: Usage
    timings: Timings
    error: BaseException | None = None


LifecycleEvent = ModelLoaded | ModelUnloaded | RequestAccepted | RequestFinished
_FUNCTIONS = {
    ModelLoaded: "on_load",
    ModelUnloaded: "on_unload",
    RequestAccepted: "on_request",
    RequestFinished: "on_finish",
}


class Lifecycle:
    """Passes events to the listeners, in order, on a thread of its own: a slow listener delays no request. Events are
    dropped while too many wait for it.

    Without listeners `emit` does nothing and no thread is started.
    """

    def __init__(self, listeners: Iterable[tuple[Plugin, Any]], isolation: Isolation) -> None:
        self._listeners = [
            (owner, listener.name, {name: getattr(listener, name) for name in _FUNCTIONS.values()})
            for owner, listener in listeners
        ]
        self._isolation = isolation
        self._events: EventBacklog[LifecycleEvent] = EventBacklog()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def emit(self, event: LifecycleEvent) -> None:
        """Pass `event` to every listener, soon. From any thread."""
        if not self._listeners:
            return
        self._events.put(
            event, prompt_size(event.request) if isinstance(event, (RequestAccepted, RequestFinished)) else 0
        )
        with self._lock:
            if self._thread is None:
                with suppress(RuntimeError):  # the system has no thread left: the next event tries again
                    thread = threading.Thread(target=self._run, name="mlxk-lifecycle", daemon=True)
                    thread.start()
                    self._thread = thread

    def close(self, timeout: float) -> None:
        """Wait until the listeners have seen every event, at most `timeout` seconds."""
        if self._thread is not None:
            self._events.end()
            self._thread.join(timeout)

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            function = _FUNCTIONS[type(event)]
            for owner, name, functions in self._listeners:
                listen: Callable[[Any], Any] | None = functions[function]
                if listen is not None:
                    self._call(owner, f"{function} of {name}", listen, event)
            self._events.done()

    def _call(self, owner: Plugin, what: str, listen: Callable[[Any], Any], event: LifecycleEvent) -> None:
        try:
            self._isolation.guard(owner, what, lambda: listen(event), default=None)
        except Exception:  # strict: on the plugin's record; this thread has no caller to raise it to
            return
