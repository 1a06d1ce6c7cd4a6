"""The generation service: submit a request, iterate its events. One per process, shared by all its threads."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from queue import Empty
from types import TracebackType
from typing import NamedTuple, TypeVar, cast

from mlxk_core._errors import QueueFull, ShuttingDown
from mlxk_core._generation.backend_choice import choose_backend
from mlxk_core._generation.capabilities import require_task, without_unsupported_defaults
from mlxk_core._generation.engine import Engine
from mlxk_core._generation.engine_errors import request_error
from mlxk_core._generation.engine_thread import EngineThread, engine_ended
from mlxk_core._generation.generation import Generation
from mlxk_core._generation.job_state import JobState
from mlxk_core._generation.jobs import Job, JobFailed, JobUpdate, ModelLeased, Resident, TaskDone
from mlxk_core._generation.lifecycle import Lifecycle, RequestAccepted
from mlxk_core._generation.machine_memory import machine_memory
from mlxk_core._generation.prompts import Prompt, render, shared_prompts
from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.request_plan import Plan, Planner
from mlxk_core._generation.request_settings import with_settings
from mlxk_core._generation.request_sizes import check_sizes, prompt_size
from mlxk_core._generation.request_type_checks import check_types
from mlxk_core._generation.service_limits import ServiceLimits
from mlxk_core._generation.service_status import ResidentModel, ServiceStatus
from mlxk_core._generation.slow_checks import SlowChecks
from mlxk_core._generation.stall_monitor import STALL_SECONDS
from mlxk_core._generation.tokenizer import Tokenizer
from mlxk_core._generation.tokenizing import LARGE, VERY_LARGE
from mlxk_core._host.host import Host
from mlxk_core._host.specs import BackendSpec
from mlxk_core._isolation.stdout import quiet_thread
from mlxk_core._models.model import Model
from mlxk_core._models.token_budget import model_context_length
from mlxk_core._processes.slots import Slots

_TOKENIZING = 2
"""Threads that tokenize at once: with dozens of busy threads, all others of the process are slow."""
_T = TypeVar("_T")
_MODEL_MEMORY_SHARE = 0.75
_PROMPT_CACHE_SHARE = 0.1
_MAX_RETRY_SECONDS = 30
"""The longest retry delay in the error for a full queue."""
_LIFECYCLE_SECONDS = 2.0
"""How long `close` waits for the listeners of plugins."""
_POLL_SECONDS = 0.1
"""How often `waiting` is called."""
_MIN_COUNT_LIMIT = 1 << 18
"""`prompt` counts at least this many tokens, even if the model's context is shorter: the caller asks for the count."""
_MEAN_WEIGHT = 0.1
"""Weight of the latest request in the mean run time, which estimates when a place in the queue becomes free."""


class _Accepted(NamedTuple):
    """A request that has passed every check of `submit`."""

    request: GenerationRequest
    backend: BackendSpec
    plan: Plan


class GenerationService:
    """Runs requests on the models they name, one batch per model. A context manager; `close` releases everything.

    `memory` is the budget for loaded models in bytes (default: 75 % of the machine's), `cache_bytes` the size of an
    engine's prompt cache, `concurrency` the number of requests that run at once (and a fourth as many of clients that
    have none running), `queue` the number that may wait in addition, `ttl` the idle time in seconds after which a model
    is unloaded (None: never). A running request fails after `stall` seconds without progress of its engine.
    `thinking_budget` applies to requests without one, where the format's reasoning can be ended; without
    `generic_tools`, tools need a chat template that supports them. `shared` says that clients depend on
    this process which have nothing to do with a model that another one asks for.
    """

    def __init__(
        self,
        host: Host,
        *,
        memory: int | None = None,
        concurrency: int = 32,
        queue: int = 128,
        ttl: float | None = None,
        cache_bytes: int | None = None,
        stall: float = STALL_SECONDS,
        thinking_budget: int | None = None,
        generic_tools: bool = True,
        shared: bool = False,
    ) -> None:
        self._host = host
        self._thinking_budget = thinking_budget
        self._generic_tools = generic_tools
        memory = memory if memory is not None else int(machine_memory() * _MODEL_MEMORY_SHARE)
        self._limits = ServiceLimits(
            memory=memory,
            cache_bytes=cache_bytes if cache_bytes is not None else int(memory * _PROMPT_CACHE_SHARE),
            concurrency=concurrency,
            ttl=ttl,
            stall=stall,
            shared=shared,
        )
        self._queue_size = queue
        self._lifecycle = Lifecycle(host.lifecycle(), host.isolation)
        self._engine_thread = EngineThread(host, self._limits, self._on_job_end, self._lifecycle)
        self._lock = threading.Lock()
        self._open_count = 0
        self._draining = False
        self._ids = itertools.count(1)
        self._mean_run = 1.0
        self._tokenizing = Slots(_TOKENIZING)
        self._tokenizing_large = Slots(_TOKENIZING)
        self._tokenizing_very_large = Slots(1)
        self._slow_checks = SlowChecks()
        self._planner = Planner(host, self.is_loaded)

    def __enter__(self) -> GenerationService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, request: GenerationRequest) -> Generation:
        """Submit a request and return its generation.

        Raises `UnsupportedModel`, `BrokenModel`, `PluginConflict`, `InvalidOption`, `QueueFull` or `ShuttingDown`;
        later errors are raised by the generation: also the `InvalidOption` of a constraint that takes long to check.
        """
        return self.submit_all([request])[0]

    def submit_all(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Submit all requests or, if `submit` would reject one of them, none."""
        for request, before in zip(requests, [None, *requests], strict=False):
            check_types(request, checked=before)
            check_sizes(request, checked=before)
        requests = with_settings([self._with_defaults(request) for request in requests])
        accepted = [self._accept(request) for request in requests]
        jobs = self._open_jobs([self._job_of(each) for each in accepted])
        prompts = shared_prompts([each.request for each in accepted])
        generations = []
        for each, job, prompt in zip(accepted, jobs, prompts, strict=True):
            self._lifecycle.emit(RequestAccepted(id=job.id, request=each.request))
            generations.append(
                Generation(each.request, each.plan, job, prompt, self._engine_thread, self._slow_checks, self._host)
            )
        return generations

    def _accept(self, request: GenerationRequest) -> _Accepted:
        backend = self._backend(request.model, request.backend)
        request = without_unsupported_defaults(request, backend)
        return _Accepted(request, backend, self._planner.plan(request, backend))

    def preload(
        self,
        model: Model,
        *,
        backend: str | None = None,
        waiting: Callable[[], None] = lambda: None,
        ttl: float | None = None,
    ) -> None:
        """Load a model and wait for it, calling `waiting` ten times a second. `ttl` as in `GenerationRequest`.

        Raises what `submit` raises, and the error of the load.
        """
        with self._lease(model, backend, waiting, ttl):
            pass

    def unload(self, *models: Model) -> bool:
        """Unload those of `models` that are loaded. Returns False if a request needs one: nothing is unloaded then."""
        return self._engine_thread.unload(models)

    def retire(self, *models: Model) -> None:
        """Unload each of `models` once no request needs it, unless another request for it comes before."""
        self._engine_thread.retire(models)

    def prompt(
        self, request: GenerationRequest, *, waiting: Callable[[], None] = lambda: None, tokenize: bool = True
    ) -> Prompt:
        """Return the prompt of `request`, text and tokens, as its engine reads it; load the model if needed.

        Without `tokenize` a conversation is rendered only, and the prompt has no tokens.
        `waiting` is called ten times a second while it loads; what it raises ends the wait. Raises what `submit`
        raises, the error of the load, `TemplateError`, and `EngineFailure` for an engine that raises anything else.
        """
        check_types(request)
        check_sizes(request)
        [request] = with_settings([self._with_defaults(request)])
        reads_calls = self._planner.formats(request).read_calls_of(request.model)
        window = max(model_context_length(request.model) or 0, _MIN_COUNT_LIMIT)
        with (
            self._lend(request.model, request.backend, waiting) as resident,
            self.tokenizing(waiting, size=prompt_size(request)),
        ):
            try:
                with quiet_thread():
                    return render(resident.engine, request, window, reads_calls=reads_calls, tokenize=tokenize)
            except Exception as error:
                raise request_error(self._host, resident.backend, error) from error

    @contextmanager
    def tokenizer(
        self,
        model: Model,
        *,
        backend: str | None = None,
        needs: str | None = None,
        waiting: Callable[[], None] = lambda: None,
    ) -> Iterator[Tokenizer]:
        """Lend the tokenizer of `model`, which stays loaded until the `with` block ends. `needs` as in `run_tasks`.

        `waiting` is called ten times a second while it loads; what it raises ends the wait. Raises what `submit`
        raises, and the error of the load.
        """
        if needs is not None:
            require_task(model, self._backend(model, backend), needs)
        with self._lend(model, backend, waiting) as resident:
            yield resident.engine.tokenizer

    def tokenizing(self, waiting: Callable[[], None] = lambda: None, *, size: int = 0) -> AbstractContextManager[None]:
        """Return a context to tokenize in, one text at a time: two threads can be in it at once, and others wait.

        `size` is the number of characters or tokens, or a `prompt_size`: above 65,536, two other threads can be in it
        at once, and above 1,048,576 another one, so that a text does not wait for much larger ones. `waiting` is called
        ten times a second until there is room; what it raises ends the wait. `prompt` enters it itself.
        """
        if size > VERY_LARGE:
            return self._tokenizing_very_large.hold(waiting)
        return (self._tokenizing_large if size > LARGE else self._tokenizing).hold(waiting)

    def run_tasks(
        self,
        model: Model,
        tasks: Iterable[Callable[[Engine], _T]],
        *,
        needs: str | None = None,
        waiting: Callable[[], None] = lambda: None,
        ttl: float | None = None,
    ) -> Iterator[_T]:
        """Call each task with the engine of `model`, on the engine thread between two steps, and yield its result.

        This is a generator: nothing is checked, loaded or raised before its first item is requested.

        For work other than generations, such as embeddings. `needs` is what a backend must list in `BackendSpec.tasks`;
        one that does not is an `UnsupportedModel` before the model is loaded. A task should take no longer than a step
        does: running generations wait for it. One that is a `Work` begins once there is memory for it. Closing the
        iterator ends the work. `waiting` as in `tokenizer`, `ttl` as in `GenerationRequest`. Raises what `submit`
        raises, the error of the load, and what a task raises.
        """
        backend = self._backend(model, None)
        if needs is not None:
            require_task(model, backend, needs)
        [job] = self._open_jobs([self._job(model, backend, ttl=ttl)])
        try:
            _wait_for_model(job, waiting)
            for task in tasks:
                self._engine_thread.submit_task(job, task)
                yield cast("_T", _wait_for_task(job, waiting))
        finally:
            self._engine_thread.end_job(job, JobState.RELEASED)

    @contextmanager
    def _lease(
        self,
        model: Model,
        backend: str | None = None,
        waiting: Callable[[], None] = lambda: None,
        ttl: float | None = None,
    ) -> Iterator[Resident]:
        [job] = self._open_jobs([self._job(model, self._backend(model, backend), ttl=ttl)])
        try:
            yield _wait_for_model(job, waiting)
        finally:
            self._engine_thread.end_job(job, JobState.RELEASED)

    @contextmanager
    def _lend(self, model: Model, backend: str | None, waiting: Callable[[], None]) -> Iterator[Resident]:
        """Lease a model for what needs no step of its engine. A loaded one is lent at once: the engine thread
        notes leases between two steps, and a step may take seconds."""
        spec = self._backend(model, backend)
        [job] = self._open_jobs([self._job(model, spec)])
        try:
            yield self._engine_thread.residency.get((model, spec.name)) or _wait_for_model(job, waiting)
        finally:
            self._engine_thread.end_job(job, JobState.RELEASED)

    def is_loaded(self, model: Model) -> bool:
        """Return whether `model` is loaded, by any backend."""
        return model in self.loaded_models()

    def loaded_models(self) -> list[Model]:
        """Return the models that are loaded. Cheap; from any thread."""
        return [resident.model for resident in self._engine_thread.residency]

    def status(self) -> ServiceStatus:
        """Return the current state of the service. Cheap; from any thread."""
        now, running, busy = time.monotonic(), self._engine_thread.running, self._engine_thread.busy
        return ServiceStatus(
            models=tuple(
                ResidentModel(
                    name=r.model.name,
                    revision=r.model.revision,
                    variant=r.model.variant,
                    backend=r.backend.name,
                    leases=r.leases,
                    running=len(r.rows),
                    memory=r.memory,
                    prompt_cache=r.prompt_cache,
                    idle_seconds=now - r.last_used if r.idle else 0.0,
                    ttl=r.ttl,
                )
                for r in self._engine_thread.residency
            ),
            loading=self._engine_thread.loading,
            active=running,
            waiting=max(0, self._open_count - running),
            concurrency=self._limits.concurrency,
            reserve=self._limits.reserve,
            queue=self._queue_size,
            memory=self._limits.memory,
            busy=busy,
            seconds_since_progress=now - self._engine_thread.last_progress if busy else 0.0,
            failed=self._engine_thread.failed,
            counters=self._engine_thread.counters,
        )

    def retry_after(self) -> int:
        """Return an estimate of the seconds until a full queue has a free place."""
        rounds = (self._queue_size + 1) / self._limits.concurrency
        return max(1, min(_MAX_RETRY_SECONDS, math.ceil(rounds * self._mean_run)))

    def full(self) -> QueueFull:
        """Return the `QueueFull` error for a rejected request, with `retry_after`."""
        return QueueFull(self._queue_size, retry_after=self.retry_after())

    def drain(self) -> None:
        """Stop accepting requests; running and queued ones complete."""
        self._draining = True

    def close(self, timeout: float | None = None) -> bool:
        """Fail every request and release all models. Return False if the engine thread did not end within `timeout`
        seconds: it hangs inside an engine, and only `os._exit` can end the process."""
        with self._lock:
            self._draining = True
        self._engine_thread.stop()
        ended = self._engine_thread.join(timeout)
        self._lifecycle.close(_LIFECYCLE_SECONDS)
        return ended

    def _job_of(self, accepted: _Accepted) -> Job:
        request = accepted.request
        return self._job(request.model, accepted.backend, client=request.client, ttl=request.ttl)

    def _job(self, model: Model, backend: BackendSpec, *, client: str = "", ttl: float | None = None) -> Job:
        return Job(id=next(self._ids), model=model, backend=backend, client=client, ttl=ttl)

    def _open_jobs(self, jobs: list[Job]) -> list[Job]:
        """Count the jobs as open and request their models. Raises `ShuttingDown` or `QueueFull`."""
        with self._lock:
            if self._draining:
                raise ShuttingDown("mlxk is shutting down and takes no more requests.")
            if self._engine_thread.failed or self._engine_thread.ended:
                raise engine_ended()
            if self._open_count + len(jobs) > self._limits.concurrency + self._queue_size:
                raise self.full()
            self._engine_thread.start()
            self._open_count += len(jobs)
            for job in jobs:  # under the lock: a command after that of `close` would never run
                if self._engine_thread.residency.get((job.model, job.backend.name)) is None:
                    job.model.forget()  # many requests may wait, for models whose files take megabytes
                self._engine_thread.request_lease(job)
        return jobs

    def _on_job_end(self, ran: float) -> None:
        with self._lock:
            self._open_count -= 1
            if ran:
                self._mean_run += _MEAN_WEIGHT * (ran - self._mean_run)

    def _backend(self, model: Model, name: str | None) -> BackendSpec:
        return choose_backend(self._host, self._engine_thread.residency, model, name)

    def _with_defaults(self, request: GenerationRequest) -> GenerationRequest:
        if request.thinking_budget is None and self._thinking_budget is not None:
            request = replace(request, thinking_budget=self._thinking_budget, budget_is_default=True)
        return replace(request, generic_tools=request.generic_tools and self._generic_tools)


def _wait_for_task(job: Job, waiting: Callable[[], None]) -> object:
    while not isinstance(update := _next_update(job, waiting), TaskDone):
        pass
    return update.result


def _wait_for_model(job: Job, waiting: Callable[[], None]) -> Resident:
    while not isinstance(update := _next_update(job, waiting), ModelLeased):
        pass
    return update.resident


def _next_update(job: Job, waiting: Callable[[], None]) -> JobUpdate:
    """Return the next update. Raises the error of a job that failed, and what `waiting` raises meanwhile."""
    while True:
        try:
            update = job.outbox.get(timeout=_POLL_SECONDS)
        except Empty:
            waiting()
            continue
        if isinstance(update, JobFailed):
            raise update.error
        return update
