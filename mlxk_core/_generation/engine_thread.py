"""The engine thread: the only one that touches an engine. It loads models, admits rows and steps everybody's batch.

Every call of foreign code is caught as `BaseException`: nobody interrupts this thread, a panic in a Rust extension
(tokenizers, safetensors) is no `Exception`, and whatever it is, only the requests it concerns may be lost.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Literal

from mlxk_core._errors import EngineFailure, InsufficientMemory, Interrupted, MlxkError, ShuttingDown
from mlxk_core._generation import ENGINE_THREAD
from mlxk_core._generation.engine import EngineContext, Prefilled, Row, RowFailed, Sampled, StepEvent
from mlxk_core._generation.jobs import Admitted, Failed, Job, JobState, Leased, LoadStarted, Stepped
from mlxk_core._generation.residency import Key, Residency, Resident
from mlxk_core._host.host import Host

Outcome = Literal["finished", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the service may use. `memory` and `cache_bytes` in bytes, `ttl` in seconds (None: models stay loaded)."""

    memory: int
    cache_bytes: int
    concurrency: int
    ttl: float | None


@dataclass(slots=True)
class Counters:
    """What has happened since the start; only ever grows. Written by the engine thread."""

    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    loads: int = 0
    unloads: int = 0
    expired: int = 0
    """Those of the unloads that made no room: the model's time was up."""
    engine_failures: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0


class EngineThread:
    """Runs commands posted from other threads between steps. `over` is told when a job has ended, with its run time."""

    def __init__(self, host: Host, limits: Limits, over: Callable[[Job, float], None]) -> None:
        # A daemon, so that an engine that hangs cannot keep the process alive; whoever closes the service joins it.
        self._thread = threading.Thread(target=self._run, name=ENGINE_THREAD, daemon=True)
        self._host = host
        self._limits = limits
        self._tell_over = over
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._wanting: deque[Job] = deque()
        self._waiting: deque[Job] = deque()
        self._jobs: set[Job] = set()
        self._loading: Key | None = None
        self._stopping = False
        self._at_exit: dict[Callable[[], None], None] = {}
        self.residency = Residency(limits.memory)
        self.counters = Counters()
        self.last_sign_of_life = time.monotonic()

    # Called from any thread.

    def start(self) -> None:
        """Starts the thread, if it has not been started."""
        if self._thread.ident is None:
            self._thread.start()

    def join(self, timeout: float | None) -> bool:
        """Waits for the thread to end; False if it still runs after `timeout` seconds."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def want(self, job: Job) -> None:
        """Leases the job's model, loading it if need be; the job hears of it through its outbox."""
        self._commands.put(lambda: self._want(job))

    def run_row(self, job: Job, row: Row) -> None:
        """Runs a row of a job that holds a lease."""
        self._commands.put(lambda: self._run_row(job, row))

    def end(self, job: Job, outcome: Outcome | None) -> None:
        """Ends a job wherever it is, if it has not ended; `outcome` is what it counts as (None: it was no request)."""
        self._commands.put(lambda: self._end(job, outcome))

    def stop(self) -> None:
        """Ends every job and the thread."""
        self._commands.put(self._stop)

    @property
    def ended(self) -> bool:
        """The thread ran and is gone: nobody would answer."""
        return self._thread.ident is not None and not self._thread.is_alive()

    @property
    def loading(self) -> str | None:
        """The name of the model that is being loaded."""
        loading = self._loading
        return loading[0].name if loading else None

    @property
    def running(self) -> int:
        """The number of rows the engines hold."""
        return sum(len(resident.rows) for resident in self.residency)

    @property
    def busy(self) -> bool:
        """Whether there is work whose progress should show in `last_sign_of_life`."""
        return self._loading is not None or self.running > 0

    # The thread itself.

    def _run(self) -> None:
        try:
            worked = False
            while not self._stopping:
                self._obey(wait=0 if worked else self._idle_for())
                self._beat()  # behind the wait: what comes next is work, and an idle hour is no sign of death
                self._serve_wanting()
                worked = self._admit()
                worked = self._step() or worked
        finally:
            self._shut_down()

    def _beat(self) -> None:
        self.last_sign_of_life = time.monotonic()

    def _idle_for(self) -> float | None:
        """How long to wait for a command when there is nothing to step: until a model's time is up, or for ever."""
        if self._limits.ttl is None:
            return None
        since = self.residency.next_idle_since()
        return None if since is None else max(0.05, since + self._limits.ttl - time.monotonic())

    def _obey(self, *, wait: float | None) -> None:
        try:
            command = self._commands.get(timeout=wait) if wait != 0 else self._commands.get_nowait()
            while True:
                command()
                command = self._commands.get_nowait()
        except Empty:
            pass
        if self._limits.ttl is not None and self._loading is None:
            for resident in self.residency.unused_since(time.monotonic() - self._limits.ttl):
                self.counters.expired += 1
                self._drop(resident)

    def _want(self, job: Job) -> None:
        if job.state is JobState.OVER:
            return
        self._jobs.add(job)
        if self._stopping:
            self._fail(job, ShuttingDown("mlxk is shutting down."))
        else:
            self._wanting.append(job)

    def _run_row(self, job: Job, row: Row) -> None:
        if job.state is not JobState.HAS_MODEL:
            return
        job.row = row
        job.state = JobState.WAITS
        self._waiting.append(job)

    def _end(self, job: Job, outcome: Outcome | None) -> None:
        if job.state is JobState.OVER:
            return
        if job.state is JobState.RUNS and job.resident is not None:
            try:
                job.resident.engine.remove(job.id)
            except BaseException as error:
                self._engine_failed(job.resident, error)
                return
        self._over(job, outcome)

    def _stop(self) -> None:
        self._stopping = True

    # Models.

    def _serve_wanting(self) -> None:
        """Leases strictly in order of arrival: a job whose model has no room yet holds back those behind it, so that
        it does not wait for ever while others keep the old model busy."""
        while self._wanting and self._loading is None and self._advance(self._wanting[0]):
            pass

    def _advance(self, job: Job) -> bool:
        """Leases the job's model or loads it; False while leased models must end first."""
        resident = self.residency.get((job.model, job.backend.name))
        if resident is not None:
            self._lease(job, resident)
            return True
        try:
            if job.need is None:  # while leased models end, this is asked once a step
                job.need = self._estimate(job)
            in_the_way = self.residency.in_the_way(job.need, job.model.name)
        except BaseException as error:
            self._fail(job, _load_error(job, error))
            return True
        if in_the_way is None:
            return False
        for resident in in_the_way:
            self._drop(resident)
        self._load(job)
        return True

    def _estimate(self, job: Job) -> int:
        if job.backend.estimate is not None:
            return int(self._host.load(job.backend.estimate)(job.model))
        return job.model.size

    def _load(self, first: Job) -> None:
        key = (first.model, first.backend.name)
        self._loading = key
        for job in self._wanting:
            if (job.model, job.backend.name) == key:
                job.outbox.put(LoadStarted())
        context = EngineContext(
            alive=lambda: self._alive(key),
            at_thread_exit=lambda call: self._at_exit.setdefault(call),
            cache_bytes=self._limits.cache_bytes,
            concurrency=self._limits.concurrency,
        )
        try:
            engine = self._host.load(first.backend.target)(first.model, context)
        except BaseException as error:
            failure = _load_error(first, error)
            gc.collect()  # a half loaded model must not sit in the memory that the next one needs
            self._loading = None
            for job in self._wanting_for(key):
                self._fail(job, failure)
            return
        self._loading = None
        self.counters.loads += 1
        resident = Resident(first.model, first.backend, engine)
        self.residency.add(resident)
        for job in self._wanting_for(key):
            self._lease(job, resident)

    def _wanting_for(self, key: Key) -> list[Job]:
        return [job for job in self._wanting if (job.model, job.backend.name) == key]

    def _alive(self, key: Key) -> None:
        """Called from inside a load: others go on meanwhile, and a load that nobody waits for ends."""
        self._beat()
        if self._loading is not key:
            return  # that load is over, and its backend calls from inside a step: others are not stepped in there
        self._obey(wait=0)
        if self._stopping or not self._wanting_for(key):
            raise Interrupted("Nobody waits for this model any more.")
        for job in list(self._wanting):  # the load has its room already, so these take nothing from anybody
            resident = self.residency.get((job.model, job.backend.name))
            if resident is not None:
                self._lease(job, resident)
        self._admit()
        self._step()

    def _lease(self, job: Job, resident: Resident) -> None:
        self._wanting.remove(job)
        self.residency.lease(resident)
        job.resident = resident
        job.state = JobState.HAS_MODEL
        job.outbox.put(Leased(resident, time.monotonic()))

    def _drop(self, resident: Resident) -> None:
        self.counters.unloads += 1
        try:
            self.residency.unload(resident)
        except BaseException:
            self.counters.engine_failures += 1  # it is out of the table; its memory goes with the last reference

    # Rows.

    def _admit(self) -> bool:
        """Gives waiting rows to their engines; False if there was none to give, or no place."""
        admitted = False
        while self._waiting and self.running < self._limits.concurrency:
            admitted = True
            job = self._waiting.popleft()
            assert job.resident is not None and job.row is not None
            if job.resident.closed:
                self._fail(job, EngineFailure("The model was unloaded after a failure of its engine. Try again."))
                continue
            try:
                job.resident.engine.add(job.row)
            except BaseException as error:
                self._fail(job, _row_error(error))
                continue
            job.state = JobState.RUNS
            job.admitted_at = time.monotonic()
            job.resident.rows[job.id] = job
            job.outbox.put(Admitted(job.admitted_at))
        return admitted

    def _step(self) -> bool:
        """One step of every engine that has rows; False if none has."""
        working = [resident for resident in self.residency if resident.rows]
        for resident in working:
            try:
                self._hand_over(resident, list(resident.engine.step()))
            except BaseException as error:  # what it gave may be no events, too
                self._engine_failed(resident, error)
                continue
            self.counters.steps += 1
            self._beat()
        return bool(working)

    def _hand_over(self, resident: Resident, events: Sequence[StepEvent]) -> None:
        now = time.monotonic()
        by_row: dict[int, list[StepEvent]] = {}
        for event in events:
            by_row.setdefault(event.id, []).append(event)
        for id, of_row in by_row.items():
            job = resident.rows.get(id)
            if job is None:
                continue
            failure: Exception | None = None
            finished = False
            for event in of_row:
                match event:
                    case Sampled():
                        self.counters.generated_tokens += 1
                        finished = finished or event.finish is not None
                    case RowFailed():
                        failure = event.error
                    case Prefilled() if event.done == event.total:
                        self.counters.prompt_tokens += event.total
                        self.counters.cached_tokens += event.cached
            if finished and failure is None:
                self._over(job, "finished")  # before it is told: who has the answer may ask again at once
            job.outbox.put(Stepped(of_row, now))
            if failure is not None:
                self._fail(job, _row_error(failure))

    def _engine_failed(self, resident: Resident, error: BaseException) -> None:
        """All rows of one engine are lost; the engine begins anew, or is dropped if it cannot."""
        self.counters.engine_failures += 1
        for job in list(resident.rows.values()):
            self._fail(job, _row_error(error))
        try:
            resident.engine.reset()
        except BaseException:
            self._drop(resident)

    def _fail(self, job: Job, error: Exception) -> None:
        if job.state is JobState.OVER:
            return
        self._over(job, "failed")
        job.outbox.put(Failed(error))

    def _over(self, job: Job, outcome: Outcome | None) -> None:
        ran = time.monotonic() - job.admitted_at if job.state is JobState.RUNS else 0.0
        if job.state is JobState.WANTS_MODEL and job in self._wanting:
            self._wanting.remove(job)
        if job.state is JobState.WAITS and job in self._waiting:
            self._waiting.remove(job)
        if job.resident is not None:
            job.resident.rows.pop(job.id, None)
            self.residency.release(job.resident)
        job.state = JobState.OVER
        match outcome:
            case "finished":
                self.counters.finished += 1
            case "failed":
                self.counters.failed += 1
            case "cancelled":
                self.counters.cancelled += 1
        self._jobs.discard(job)
        self._tell_over(job, ran)

    def _shut_down(self) -> None:
        self._stopping = True
        self._obey(wait=0)
        for job in list(self._jobs):
            self._fail(job, ShuttingDown("mlxk is shutting down."))
        for resident in self.residency:
            self._drop(resident)
        gc.collect()
        for call in self._at_exit:
            with contextlib.suppress(BaseException):  # the others still have their turn
                call()


def _load_error(job: Job, error: BaseException) -> Exception:
    if isinstance(error, MlxkError):
        return error
    if isinstance(error, MemoryError):
        return InsufficientMemory(f"`{job.model.name}` did not fit into memory.", model=job.model.name)
    return EngineFailure(
        f"`{job.model.name}` could not be loaded: {type(error).__name__}: {error}", model=job.model.name
    )


def _row_error(error: BaseException) -> Exception:
    if isinstance(error, MlxkError):
        return error
    return EngineFailure(f"The engine failed while it ran this request: {type(error).__name__}: {error}")
