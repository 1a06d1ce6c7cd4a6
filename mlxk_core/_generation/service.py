"""The generation service: submit a request, iterate its events. One per process, shared by everybody in it."""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty
from types import TracebackType

from mlxk_core._errors import BrokenModel, QueueFull, ShuttingDown
from mlxk_core._generation.engine_thread import Counters, EngineThread, Limits
from mlxk_core._generation.extractor import Extractor, ExtractorContext
from mlxk_core._generation.generation import Generation, Plan
from mlxk_core._generation.jobs import Failed, Job, Leased
from mlxk_core._generation.request import GenerationRequest, Message
from mlxk_core._generation.residency import Resident
from mlxk_core._generation.stops import CHAT_STOP_STRINGS, StopStrings, stop_tokens
from mlxk_core._host.host import Host
from mlxk_core._host.specs import BackendSpec, StopPolicy
from mlxk_core._models.budget import model_context_length
from mlxk_core._models.health import check
from mlxk_core._models.model import Model

_SHARE_OF_MEMORY = 0.75
_SHARE_FOR_PROMPTS = 0.1
_LONGEST_RETRY = 30
_PULSE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentModel:
    """A loaded model, for status pages. `memory` in bytes."""

    name: str
    revision: str | None
    backend: str
    leases: int
    running: int
    memory: int
    idle_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """The service at one moment. `seconds_since_sign_of_life` counts only while `busy`."""

    models: tuple[ResidentModel, ...]
    loading: str | None
    active: int
    waiting: int
    concurrency: int
    queue: int
    memory: int
    busy: bool
    seconds_since_sign_of_life: float
    counters: Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What the plugins say of a model; asked once, since it means reading the model's files."""

    policy: StopPolicy
    window: int
    format_name: str | None
    extractor: Callable[[ExtractorContext], Extractor] | None
    finds_tool_calls: bool


class GenerationService:
    """Runs requests on the models they name, in one batch a model.

    `memory` is the budget for loaded models in bytes (default: 75 % of the machine's), `cache_bytes` what an engine
    may keep of prompts it has read, `concurrency` how many requests run at once, `queue` how many may wait beside
    them, `ttl` after how many idle seconds a model is unloaded. A context manager that always cleans up.
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
    ) -> None:
        self._host = host
        memory = memory if memory is not None else int(machine_memory() * _SHARE_OF_MEMORY)
        self._limits = Limits(
            memory=memory,
            cache_bytes=cache_bytes if cache_bytes is not None else int(memory * _SHARE_FOR_PROMPTS),
            concurrency=concurrency,
            ttl=ttl,
        )
        self._queue = queue
        self._thread = EngineThread(host, self._limits, self._job_over)
        self._lock = threading.Lock()
        self._open = 0
        self._draining = False
        self._ids = itertools.count(1)
        self._mean_run = 1.0
        self._facts: dict[tuple[Model, str | None], _Facts] = {}

    def __enter__(self) -> GenerationService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, request: GenerationRequest) -> Generation:
        """Takes a request. Raises `UnsupportedModel`, `BrokenModel`, `PluginConflict`, `InvalidOption`, `QueueFull` or
        `ShuttingDown` at once; what else can go wrong is raised by the generation."""
        return self.submit_all([request])[0]

    def submit_all(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Takes all requests or, if `submit` would refuse one of them, none."""
        backends = [self._backend(request.model, request.backend) for request in requests]
        plans = [self._plan(request) for request in requests]
        jobs = self._open_jobs([(request.model, backend) for request, backend in zip(requests, backends, strict=True)])
        return [
            Generation(request, plan, job, self._thread)
            for request, plan, job in zip(requests, plans, jobs, strict=True)
        ]

    def preload(self, model: Model, *, backend: str | None = None, waiting: Callable[[], None] = lambda: None) -> None:
        """Loads a model and waits for it, with a call of `waiting` now and then. Raises what `submit` and the load
        raise."""
        [job] = self._open_jobs([(model, self._backend(model, backend))])
        try:
            while True:
                try:
                    item = job.outbox.get(timeout=_PULSE)
                except Empty:
                    waiting()
                    continue
                if isinstance(item, Failed):
                    raise item.error
                if isinstance(item, Leased):
                    return
        finally:
            self._thread.end(job, None)

    def is_loaded(self, model: Model) -> bool:
        """Whether `model` is resident, in any backend."""
        return any(resident.model == model for resident in self._thread.residency)

    def status(self) -> ServiceStatus:
        """How the service is doing; cheap, from any thread."""
        now, running, busy = time.monotonic(), self._thread.running, self._thread.busy
        return ServiceStatus(
            models=tuple(
                ResidentModel(
                    name=r.model.name,
                    revision=r.model.revision,
                    backend=r.backend.name,
                    leases=r.leases,
                    running=len(r.rows),
                    memory=r.memory,
                    idle_seconds=now - r.last_used if r.idle else 0.0,
                )
                for r in self._thread.residency
            ),
            loading=self._thread.loading,
            active=running,
            waiting=max(0, self._open - running),
            concurrency=self._limits.concurrency,
            queue=self._queue,
            memory=self._limits.memory,
            busy=busy,
            seconds_since_sign_of_life=now - self._thread.last_sign_of_life if busy else 0.0,
            counters=self._thread.counters,
        )

    def full(self) -> QueueFull:
        """What a request is told that finds every place taken: how many wait, and when one of them should be gone."""
        rounds = (self._queue + 1) / self._limits.concurrency
        return QueueFull(self._queue, retry_after=max(1, min(_LONGEST_RETRY, math.ceil(rounds * self._mean_run))))

    def drain(self) -> None:
        """Takes no more requests; those in the house go on."""
        self._draining = True

    def close(self, timeout: float | None = None) -> bool:
        """Ends every request and gives everything back. False if the engine thread did not end within `timeout`
        seconds: it hangs in the engine, and only ending the process (`os._exit`) is left."""
        with self._lock:
            self._draining = True
        self._thread.stop()
        return self._thread.join(timeout)

    def _open_jobs(self, wanted: Sequence[tuple[Model, BackendSpec]]) -> list[Job]:
        with self._lock:
            if self._draining or self._thread.ended:
                raise ShuttingDown("mlxk is shutting down and takes no more requests.")
            if self._open + len(wanted) > self._limits.concurrency + self._queue:
                raise self.full()
            self._thread.start()
            self._open += len(wanted)
            jobs = [Job(id=next(self._ids), model=model, backend=backend) for model, backend in wanted]
            for job in jobs:
                self._thread.want(job)  # under the lock: a command behind `close`'s stop would never be read
        return jobs

    def _job_over(self, job: Job, ran: float) -> None:
        with self._lock:
            self._open -= 1
            if ran:
                self._mean_run += 0.1 * (ran - self._mean_run)

    def _backend(self, model: Model, name: str | None) -> BackendSpec:
        """The backend for `model`. One that is loaded is judged no more: that would read its files for every request.
        One that is not is looked over first: what is broken must not cost another model its place."""
        for resident in self._thread.residency:
            if resident.model == model and name in (None, resident.backend.name):
                return resident.backend
        backend = self._host.backend_for(model, name)
        health = check(model).once_accepted
        if not health.healthy:
            problems = "; ".join(problem.message for problem in health.problems)
            raise BrokenModel(f"`{model.name}` is damaged: {problems}", model=model.name)
        return backend

    def _plan(self, request: GenerationRequest) -> Plan:
        chat = isinstance(request.prompt, (list, tuple)) and any(isinstance(m, Message) for m in request.prompt)
        # A raw prompt is for raw text: its markers are split off only when somebody asks for it.
        asked = request.reasoning_format if chat or request.reasoning_format is not None else "none"
        facts = self._facts_of(request.model, asked)
        tool_extractor = None
        if request.tools and not facts.finds_tool_calls and (spec := self._host.tool_format(request.model)):
            tool_extractor = self._host.load(spec.target)
        strings = list(request.stop)
        if chat and request.chat_stops:
            strings += [*CHAT_STOP_STRINGS, *facts.policy.stop_strings]
        return Plan(
            window=facts.window,
            stop_strings=StopStrings(strings),
            stop_tokens=lambda resident: _stops_of(resident, facts.policy),
            format_name=facts.format_name,
            extractor=facts.extractor,
            tool_extractor=tool_extractor,
        )

    def _facts_of(self, model: Model, reasoning_format: str | None) -> _Facts:
        """Kept while the model is loaded: before a load its files may change, and a server lives long."""
        facts = self._facts.get((model, reasoning_format))
        if facts is not None and self.is_loaded(model):
            return facts
        chosen = self._host.reasoning_format(model, reasoning_format)
        facts = _Facts(
            policy=self._host.stop_policy(model),
            window=model_context_length(model),
            format_name=chosen[0].name if chosen else None,
            extractor=self._host.load(chosen[0].target) if chosen else None,
            finds_tool_calls=chosen is not None and chosen[0].tool_calls == "own",
        )
        for known in list(self._facts):
            if known[0] != model and not self.is_loaded(known[0]):
                self._facts.pop(known, None)
        self._facts[model, reasoning_format] = facts
        return facts


def _stops_of(resident: Resident, policy: StopPolicy) -> frozenset[int]:
    if resident.stop_tokens is None:
        resident.stop_tokens = stop_tokens(resident.engine, resident.model, policy)
    return resident.stop_tokens


def machine_memory() -> int:
    """The machine's physical memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
