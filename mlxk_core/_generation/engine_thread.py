"""The engine thread: the only one that calls an engine. It loads models, admits rows and steps all batches.

Every call into a backend is caught as `BaseException`: nothing interrupts this thread, a panic in a Rust extension
(tokenizers, safetensors) is not an `Exception`, and an error may only cost the requests it concerns.

How a job ends: every way leads to `_close_job`, the only place that moves a job to a terminal state and releases its
model. A consumer calls `end_job`, which runs here as `_end_by_request`; `_deliver` closes a job whose row the engine
ended. All failures go through `_fail_job`, which also puts the error into the outbox: `_fail_row` first removes the row
of an event that is malformed or reports an error, `_fail_stalled_row` does so for the stall monitor, and `_fail_engine`
fails all rows of an engine whose `step` or `remove` raised, and resets it. `_give_up_all` is the net below these: an
error that gets out of a turn of the loop costs all requests and models, and the thread goes on.

How a job gets its model: `_lease_models` takes the queue in order; `_lease_or_load` leases a loaded model or loads it;
`_lease` is the transition itself. A load may take minutes, so the backend calls `alive()` meanwhile, and
`_on_load_progress` runs commands and steps the other models from inside the load. This is the only re-entrant path. It
starts no load, and it steps only while its own load is the current one: a backend may keep `alive` and call it later,
from inside a step, where another step would be recursive.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue

from mlxk_core._errors import (
    EngineFailure,
    InsufficientMemory,
    Interrupted,
    MlxkError,
    ShuttingDown,
    release_locals,
)
from mlxk_core._generation import ENGINE_THREAD
from mlxk_core._generation.counters import Counters
from mlxk_core._generation.engine import Engine, EngineContext, Row, StepEvent
from mlxk_core._generation.engine_errors import (
    engine_error,
    malformed_result,
    missing_member,
    stalled,
)
from mlxk_core._generation.engine_values import byte_count
from mlxk_core._generation.failed_loads import FailedLoads
from mlxk_core._generation.heap_trim import HeapTrim
from mlxk_core._generation.job_state import Actor, JobState
from mlxk_core._generation.jobs import (
    Job,
    JobFailed,
    LoadStarted,
    ModelLeased,
    Resident,
    ResidentKey,
    RowAdmitted,
    RowStepped,
    TaskDone,
)
from mlxk_core._generation.lifecycle import Lifecycle, ModelLoaded, ModelUnloaded
from mlxk_core._generation.passing import Passing
from mlxk_core._generation.residency import Residency
from mlxk_core._generation.row_memory import RowMemory
from mlxk_core._generation.row_turns import RowTurns
from mlxk_core._generation.service_limits import ServiceLimits
from mlxk_core._generation.stall_monitor import StallMonitor
from mlxk_core._generation.step_events import read_row, sort_by_row
from mlxk_core._generation.task_queue import Task, TaskQueue, Work
from mlxk_core._host.host import Host
from mlxk_core._host.specs import BackendSpec
from mlxk_core._isolation.error_place import describe_error
from mlxk_core._isolation.stdout import quiet_stdout, quiet_thread
from mlxk_core._models.in_use import InUseMark
from mlxk_core._models.model import Model
from mlxk_core._system_limits import raise_system_limit

_UNLOAD_SECONDS = 30.0
_LONGEST_HELD_BACK = 1.0
"""Seconds after which jobs that were held back are looked at again."""
_LONGEST_WITHOUT_MEMORY = 0.1
"""Seconds after which works that wait for memory are looked at again."""
_LONGEST_WAIT = 3600.0  # seconds; a queue cannot wait for a number of any size
_MOST_FAILURES = 8
"""Turns of the loop in a row that may fail; after that the thread ends."""
_LOGGER = logging.getLogger("mlxk.engine")


class EngineThread:
    """Runs commands that other threads post, and steps the engines between them.

    `on_job_end(seconds)` is called on this thread when a job is over, with the time its row ran.
    """

    def __init__(
        self, host: Host, limits: ServiceLimits, on_job_end: Callable[[float], None], lifecycle: Lifecycle
    ) -> None:
        self._thread: threading.Thread | None = None
        self._host = host
        self._limits = limits
        self._on_job_end = on_job_end
        self.lifecycle = lifecycle
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._queued: deque[Job] = deque()
        self._passing = Passing()
        self._turns = RowTurns(limits.concurrency, limits.reserve)
        self._tasks = TaskQueue(self._fits_work)
        self._jobs: set[Job] = set()
        self._loading: ResidentKey | None = None
        self._stopping = False
        self._failures = 0
        """Turns of the loop in a row that failed."""
        self.failed = False
        """Whether the thread has ended after an error."""
        self._at_exit: dict[Callable[[], None], None] = {}
        self._failed_loads = FailedLoads()
        self.residency = Residency(limits.memory)
        self._row_memory = RowMemory(self.residency, self._unload)
        self.counters = Counters()
        self.last_progress = time.monotonic()
        self._monitor = StallMonitor(limits.stall, self._running_jobs, self._on_stall)
        self._heap_trim = HeapTrim()

    # Called from any thread.

    def start(self) -> None:
        """Start the thread unless it was started. Raises `SystemLimit` if the system has none left."""
        if self._thread is None:
            # A daemon, so that an engine that hangs cannot keep the process alive; the service joins it on close.
            thread = threading.Thread(target=self._run, name=ENGINE_THREAD, daemon=True)
            try:
                self._monitor.start()
                thread.start()
            except RuntimeError as error:
                raise_system_limit(error)
                raise
            self._thread = thread  # now: one that could not be started cannot be started later

    def join(self, timeout: float | None) -> bool:
        """Wait for the thread to end; False if it still runs after `timeout` seconds."""
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def request_lease(self, job: Job) -> None:
        """Lease the job's model, loading it if necessary. The outcome is put into the job's outbox."""
        self._commands.put(lambda: self._enqueue(job))
        if self.failed:  # after the command was put, which may have been too late
            job.outbox.put(JobFailed(engine_ended()))

    def submit_row(self, job: Job, row: Row) -> None:
        """Run the row of a job whose model is leased."""
        self._commands.put(lambda: self._make_ready(job, row))

    def submit_task(self, job: Job, task: Task) -> None:
        """Call `task` with the engine of a job whose model is leased, between two steps. One task runs at a time."""
        self._commands.put(lambda: self._tasks.add(job, task))

    def end_job(self, job: Job, state: JobState) -> None:
        """End a job on behalf of its request, in the terminal `state`. A job that is over does not change."""
        self._commands.put(lambda: self._end_by_request(job, state))

    def retire(self, models: Collection[Model]) -> None:
        """Unload models once they are idle. Returns at once."""

        def command() -> None:
            for resident in self.residency:
                if resident.model in models:
                    resident.retired = True

        self._commands.put(command)

    def unload(self, models: Collection[Model]) -> bool:
        """Unload models; none and False if one is in use. Waits for the thread, between two steps or inside a load."""
        done: SimpleQueue[bool] = SimpleQueue()

        def command() -> None:
            residents = [resident for resident in self.residency if resident.model in models]
            if free := all(resident.idle for resident in residents):
                for resident in residents:
                    self._unload(resident)
            done.put(free)

        if self._thread is not None and self._thread.is_alive():
            self._commands.put(command)
            try:
                return done.get(timeout=_UNLOAD_SECONDS)
            except Empty:
                return False
        return True

    def stop(self) -> None:
        """Fail every job and end the thread."""
        self._commands.put(self._request_stop)

    @property
    def ended(self) -> bool:
        """Whether the thread ran and ended: a command would never be executed."""
        return self._thread is not None and not self._thread.is_alive()

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
        """Whether there is work whose progress should show in `last_progress`."""
        return self._loading is not None or self.running > 0 or bool(self._tasks)

    def _running_jobs(self) -> list[Job]:
        return [job for resident in self.residency for job in list(resident.rows.values())]

    def _on_stall(self, jobs: Sequence[Job]) -> None:
        """Called on the monitor's thread. The consumers learn of it even if this thread hangs inside an engine."""
        for job in jobs:
            error = stalled(self._host, job.backend, self._limits.stall)
            job.outbox.put(JobFailed(error))
            self._commands.put(partial(self._fail_stalled_row, job, error))

    # On the engine thread: the loop.

    def _run(self) -> None:
        with quiet_thread():
            self._run_until_stopped()

    def _run_until_stopped(self) -> None:
        try:
            worked = False
            while not self._stopping:
                worked = self._guarded(partial(self._turn, worked))
        except BaseException:
            self.failed = True
            _LOGGER.critical("The engine thread has failed too often and ends. Restart mlxk.")
        finally:
            self._monitor.stop()
            self._shut_down()

    def _turn(self, worked: bool) -> bool:
        """Run what is due; wait for a command if nothing `worked` in the turn before. Return whether something did."""
        if worked:
            self._run_commands(wait=0)
        else:
            self._wait_for_command()
            self._record_progress()  # an idle hour is not a stall
        self._unload_expired()
        self._lease_models()
        return self._run_leased()

    def _run_leased(self) -> bool:
        """Admit rows, run a task and a step. Return False if there was nothing to do."""
        worked = self._admit()
        worked = self._run_next_task() or worked
        return self._step() or worked

    def _guarded(self, turn: Callable[[], bool]) -> bool:
        """Return what `turn` returns. An error that gets out of it costs all requests and models."""
        try:
            worked = turn()
        except BaseException as error:
            self._failures += 1
            self._give_up_all(error)
            if self._failures > _MOST_FAILURES:
                raise
            return True
        self._failures = 0
        return worked

    def _give_up_all(self, error: BaseException) -> None:
        """Fail every job and unload every model: which of them an unexpected error is due to is not known."""
        _LOGGER.error("The engine thread failed; all requests and models are given up.", exc_info=error)
        self.counters.engine_failures += 1
        failure = EngineFailure(f"The engine thread failed: {describe_error(error, ())}")
        failure.__cause__ = error
        self._end_all(failure)

    def _end_all(self, error: MlxkError) -> None:
        """Fail every job and unload every model."""
        for job in list(self._jobs):
            with contextlib.suppress(BaseException):  # the others end in any case
                self._fail_job(job, Actor.SERVICE, error)
        for resident in self.residency:
            with contextlib.suppress(BaseException):
                self._unload(resident)

    def _record_progress(self) -> None:
        self.last_progress = time.monotonic()

    def _wait_for_command(self) -> None:
        self._run_commands(wait=self._heap_trim.before_wait(self._idle_timeout()))

    def _idle_timeout(self) -> float | None:
        """Return the seconds to wait for a command without work: until a model expires, or without limit."""
        if self._tasks:
            return _LONGEST_WITHOUT_MEMORY
        if self._queued:
            return _LONGEST_HELD_BACK
        expiry = self.residency.next_expiry()
        return None if expiry is None else min(max(0.05, expiry - time.monotonic()), _LONGEST_WAIT)

    def _run_commands(self, *, wait: float | None) -> None:
        """Run the commands posted so far. Wait up to `wait` seconds for the first (None: without limit)."""
        while (command := self._next_command(wait)) is not None:
            command()
            wait = 0

    def _next_command(self, wait: float | None) -> Callable[[], None] | None:
        try:
            return self._commands.get_nowait() if wait == 0 else self._commands.get(timeout=wait)
        except Empty:
            return None

    def _unload_expired(self) -> None:
        for resident in self.residency.expired(time.monotonic()):
            self.counters.expired += 1
            self._unload(resident)

    # On the engine thread: commands.

    def _enqueue(self, job: Job) -> None:
        if job.ended:
            return
        self._jobs.add(job)
        if self._stopping:
            self._fail_job(job, Actor.SERVICE, _shutting_down())
        else:
            self._queued.append(job)

    def _make_ready(self, job: Job, row: Row) -> None:
        if job.ended:
            return
        job.change_state(JobState.READY, by=Actor.REQUEST)
        job.row = row
        self._turns.add(job)

    def _run_next_task(self) -> bool:
        """Run the next task. Return False if none is due."""
        due = self._tasks.next(rows_wait=self.running > 0)
        if due is None:
            return False
        job, task = due
        if job.ended:
            return True
        assert job.resident is not None
        self._record_progress()
        work = task if isinstance(task, Work) else None
        with self._tasks.measure(job):
            try:
                if work is not None and not work.begun:
                    self._row_memory.begin_work(job, work)
                result = task(job.resident.engine)
            except BaseException as error:
                self._fail_job(job, Actor.ENGINE, engine_error(self._host, job.backend, "a task", error))
            else:
                job.outbox.put(TaskDone(result))
        if work is None or work.done:
            self._end_work(job)
        return True

    def _fits_work(self, job: Job, work: Work) -> bool:
        try:
            return self._row_memory.fits_work(job, work)
        except BaseException:  # of a backend: it fails the job when it is asked again
            return True

    def _end_work(self, job: Job) -> None:
        if self._row_memory.work_ended(job):
            self._tasks.look_again()

    def _end_by_request(self, job: Job, state: JobState) -> None:
        if job.ended:
            return
        if job.state is JobState.RUNNING and job.resident is not None:
            try:
                job.resident.engine.remove(job.id)
            except BaseException as error:
                self._fail_engine(job.resident, "remove()", error)
                return
        self._close_job(job, state, Actor.REQUEST)

    def _fail_stalled_row(self, job: Job, error: MlxkError) -> None:
        if job.state is not JobState.RUNNING or job.resident is None:
            return
        resident = job.resident
        with contextlib.suppress(BaseException):  # the row is given up in any case
            resident.engine.remove(job.id)
        self._fail_job(job, Actor.SERVICE, error)
        if not resident.rows:
            with contextlib.suppress(BaseException):
                resident.engine.reset()

    def _request_stop(self) -> None:
        self._stopping = True

    # On the engine thread: models.

    def _lease_models(self) -> None:
        """Lease in order of arrival: a job whose model has no room yet holds back the later ones, for a while."""
        while self._queued and self._loading is None:
            if not self._lease_or_load(self._queued[0]):
                if self._passing.may_pass(self._queued[0].id, time.monotonic()):
                    self._lease_loaded()
                return

    def _lease_loaded(self) -> None:
        for job in list(self._queued):
            resident = self.residency.get((job.model, job.backend.name))
            if resident is not None:
                self._lease(job, resident)

    def _lease_or_load(self, job: Job) -> bool:
        """Lease the job's model or load it. Return False while leased models must be released first."""
        resident = self.residency.get((job.model, job.backend.name))
        if resident is not None:
            self._lease(job, resident)
            return True
        try:
            if job.estimate is None:  # asked once: this runs every step while leased models finish
                job.to_load = replace(job.model)  # what was read of its files may be old
                job.to_load.note_versions()
                if (known := self._failed_loads.error_of(job.to_load, job.backend.name)) is not None:
                    self._fail_job(job, Actor.ENGINE, known)
                    return True
                job.estimate = self._estimate(job.to_load, job.backend)
            evicted = self.residency.to_evict(job.estimate, job.model.name)
        except InsufficientMemory as error:
            self._fail_job(job, Actor.SERVICE, error)
            return True
        except BaseException as error:
            failure = self._load_error(job, "estimate()", error)
            release_locals(error)
            self._fail_job(job, Actor.ENGINE, failure)
            return True
        if evicted is None:
            return False
        for resident in evicted:
            self._unload(resident)
        model, job.to_load = job.to_load, None
        self._load(job, model or replace(job.model))
        return True

    def _estimate(self, model: Model, backend: BackendSpec) -> int:
        if backend.estimate is not None:
            estimate = self._host.load(backend.estimate)
            with quiet_stdout():
                return int(estimate(model))
        return model.size

    def _load(self, first: Job, model: Model) -> None:
        """Load `model`, that of `first`, for it and for every other job that waits for the same model."""
        key = self._loading = (model, first.backend.name)
        for job in self._queued_for(key):
            job.outbox.put(LoadStarted())
        mark = InUseMark(model.path)
        began = time.monotonic()
        try:
            engine = self._loaded_engine(model, first.backend)
        except BaseException as error:
            mark.end()
            failure = self._load_error(first, "load()", error)
            release_locals(error)
            self._failed_loads.note(model, first.backend.name, failure, time.monotonic() - began)
            self._heap_trim.trim()  # a half-loaded model must not occupy the memory that the next one needs
            self._loading = None
            if not self._needs_more(first, failure):
                for job in self._queued_for(key):
                    self._fail_job(job, Actor.ENGINE, failure)
            return
        self._loading = None
        self.counters.loads += 1
        ttl = self._limits.ttl if self._limits.ttl is not None else model.settings.ttl
        resident = Resident(model, first.backend, engine, mark=mark, ttl=ttl)
        self.residency.add(resident)
        seconds, memory = time.monotonic() - began, resident.refresh_memory()
        self.lifecycle.emit(ModelLoaded(model=model, backend=first.backend.name, seconds=seconds, memory=memory))
        for job in self._queued_for(key):
            self._lease(job, resident)

    def _needs_more(self, job: Job, failure: Exception) -> bool:
        """Return whether the load of `job` found that it needs more memory than was estimated, and is tried again when
        idle models have been unloaded for it."""
        needed = failure.details.get("needed") if isinstance(failure, InsufficientMemory) else None
        if type(needed) is not int or needed <= (job.estimate or 0) or not any(each.idle for each in self.residency):
            return False
        job.estimate = needed
        return True

    def _loaded_engine(self, model: Model, backend: BackendSpec) -> Engine:
        key = self._loading
        assert key is not None
        context = EngineContext(
            alive=lambda: self._on_load_progress(key),
            at_thread_exit=lambda call: self._at_exit.setdefault(call),
            cache_bytes=self._limits.cache_bytes,
            concurrency=self._limits.concurrency + self._limits.reserve,
            shared=self._limits.shared,
            memory=self.residency.free(),
        )
        load = self._host.load(backend.target)
        with quiet_stdout():
            engine: Engine = load(model, context)
        if missing := missing_member(engine):
            problem = f"load() returned {type(engine).__name__}, which has no `{missing}`"
            raise malformed_result(self._host, backend, problem, load)
        try:
            byte_count(held := engine.memory)
        except TypeError:
            problem = f"the `memory` of the engine that load() returned is {type(held).__name__}, not a number of bytes"
            raise malformed_result(self._host, backend, problem, load) from None
        return engine

    def _queued_for(self, key: ResidentKey) -> list[Job]:
        return [job for job in self._queued if (job.model, job.backend.name) == key]

    def _on_load_progress(self, key: ResidentKey) -> None:
        """Called from inside a load. Run other models meanwhile, and interrupt a load that no job waits for."""
        self._record_progress()
        if self._loading is not key:
            return  # the load is over and its backend calls from inside a step: stepping here would be re-entrant
        self._guarded(self._run_during_load)
        if self._stopping or not self._queued_for(key):
            raise Interrupted("The load was interrupted: no request waits for this model.")

    def _run_during_load(self) -> bool:
        self._run_commands(wait=0)
        self._lease_loaded()  # the load has its memory already, so these take nothing away
        return self._run_leased()

    def _lease(self, job: Job, resident: Resident) -> None:
        job.change_state(JobState.LEASED, by=Actor.SERVICE)
        self._queued.remove(job)
        self.residency.lease(resident)
        job.resident = resident
        job.outbox.put(ModelLeased(resident, time.monotonic()))

    def _unload(self, resident: Resident) -> None:
        self.counters.unloads += 1
        self._heap_trim.after_unload()
        try:
            with quiet_stdout():
                self.residency.unload(resident)
        except BaseException:
            self.counters.engine_failures += 1  # it is out of the table; its memory goes with the last reference
        finally:
            if resident.mark is not None:
                resident.mark.end()
            self.lifecycle.emit(ModelUnloaded(model=resident.model, backend=resident.backend.name))

    def _load_error(self, job: Job, call: str, error: BaseException) -> Exception:
        if isinstance(error, MemoryError):
            return InsufficientMemory(f"`{job.model.name}` did not fit into memory.", model=job.model.name)
        return engine_error(self._host, job.backend, call, error)

    # On the engine thread: rows.

    def _admit(self) -> bool:
        """Add ready rows to their engines. Return False if none was ready, or none may begin yet."""
        admitted = False
        while self._row_memory.may_try() and (job := self._turns.take(self._fits)) is not None:
            admitted = True
            assert job.resident is not None and job.row is not None
            if job.resident.closed:
                error = EngineFailure("The model was unloaded after a failure of its engine. Try again.")
                self._fail_job(job, Actor.ENGINE, error)
                continue
            try:
                self._row_memory.check(job)
                job.resident.engine.add(job.row)
            except BaseException as error:
                self._fail_job(job, Actor.ENGINE, engine_error(self._host, job.backend, "add()", error))
                continue
            job.change_state(JobState.RUNNING, by=Actor.SERVICE)
            self._turns.begin(job)
            job.admitted_at = time.monotonic()
            job.resident.rows[job.id] = job
            job.outbox.put(RowAdmitted(job.admitted_at))
        return admitted

    def _fits(self, job: Job, has_rows: bool) -> bool:
        assert job.resident is not None
        if job.resident.closed:
            return True
        try:
            return self._row_memory.fits(job, has_rows=has_rows, held=self._tasks.held)
        except BaseException:  # of a backend: it fails the job when it is asked again
            return True

    def _step(self) -> bool:
        """Step every engine that has rows. Return False if none has."""
        if (job := self._row_memory.overgrown()) is not None:
            self._fail_row(job, self._row_memory.exhausted())
        working = [resident for resident in self.residency if resident.rows]
        for resident in working:
            try:
                events = sort_by_row(resident.engine.step(), resident.rows)
            except BaseException as error:  # also for events without an id: they cannot be attributed to a row
                self._fail_engine(resident, "step()", error, _step_of(resident))
                continue
            self.counters.steps += 1
            self._deliver(resident, events)
        return bool(working)

    def _deliver(self, resident: Resident, events: Mapping[int, Sequence[StepEvent]]) -> None:
        """Put the events of one step into the outboxes of their jobs, and end the jobs whose rows ended."""
        now = time.monotonic()
        if events:
            self._record_progress()
        for id, of_row in events.items():
            job = resident.rows[id]
            job.events += len(of_row)
            try:
                row_events = read_row(of_row)
            except BaseException as error:  # of an event's own methods
                self._fail_row(job, engine_error(self._host, job.backend, "step()", error, _step_of(resident)))
                continue
            self.counters.count(row_events.valid)
            if self._turns.is_reading(job) and row_events.prompt_read:
                self._turns.prompt_read(job)
            if row_events.finished:
                # Before the outbox: a consumer that has the whole response may submit the next request at once.
                self._close_job(job, JobState.FINISHED, Actor.ENGINE)
            job.outbox.put(RowStepped(row_events.valid, now))
            if row_events.malformed:
                problem = f"step() returned {row_events.malformed}"
                self._fail_row(job, malformed_result(self._host, job.backend, problem, _step_of(resident)))
            elif row_events.error is not None:
                self._fail_row(job, engine_error(self._host, job.backend, "step()", row_events.error))

    def _fail_row(self, job: Job, error: MlxkError) -> None:
        assert job.resident is not None
        with contextlib.suppress(BaseException):  # the row is given up in any case
            job.resident.engine.remove(job.id)
        self._fail_job(job, Actor.ENGINE, error)

    def _fail_engine(self, resident: Resident, call: str, error: BaseException, source: object = None) -> None:
        """Fail all rows of one engine because `call` raised, and reset it; unload it if even that fails. An error
        without a frame in the plugin is placed at `source`, whose result is wrong."""
        self.counters.engine_failures += 1
        for job in list(resident.rows.values()):
            self._fail_job(job, Actor.ENGINE, engine_error(self._host, resident.backend, call, error, source))
        try:
            resident.engine.reset()
        except BaseException:
            self._unload(resident)

    # On the engine thread: the end of jobs.

    def _fail_job(self, job: Job, by: Actor, error: Exception) -> None:
        if not job.ended:
            try:
                self._close_job(job, JobState.FAILED, by)
            finally:
                job.outbox.put(JobFailed(error))

    def _close_job(self, job: Job, state: JobState, by: Actor) -> None:
        """Move a job to a terminal state and release all it holds."""
        before = job.state
        job.change_state(state, by)
        if before is JobState.QUEUED and job in self._queued:
            self._queued.remove(job)
        if before is JobState.READY:
            self._turns.discard(job)
        if before is JobState.RUNNING:
            self._turns.end(job)
            self._row_memory.row_ended()
            self._tasks.look_again()
        self._end_work(job)
        if job.resident is not None:
            if job.ttl is not None:
                job.resident.ttl = None if job.ttl < 0 else job.ttl
            job.resident.rows.pop(job.id, None)
            self.residency.release(job.resident)
        elif state is JobState.RELEASED:
            self.residency.note_use((job.model, job.backend.name))
        match state:
            case JobState.FINISHED:
                self.counters.finished += 1
            case JobState.FAILED:
                self.counters.failed += 1
            case JobState.CANCELLED:
                self.counters.cancelled += 1
        self._jobs.discard(job)
        self._heap_trim.after_job(len(job.row.prompt) if job.row is not None else 0)
        self._on_job_end(time.monotonic() - job.admitted_at if before is JobState.RUNNING else 0.0)

    def _shut_down(self) -> None:
        self._stopping = True
        while not self._commands.empty():
            with contextlib.suppress(BaseException):
                self._run_commands(wait=0)
        self._end_all(engine_ended() if self.failed else _shutting_down())
        gc.collect()
        for call in self._at_exit:
            with contextlib.suppress(BaseException), quiet_stdout():  # the remaining calls still run
                call()


def _step_of(resident: Resident) -> object:
    """Return the method of an engine, without a call of its own code."""
    return inspect.getattr_static(resident.engine, "step", None)


def engine_ended() -> EngineFailure:
    """Return the error of requests after the thread has ended after an error."""
    return EngineFailure("The engine has ended after an error. Restart mlxk.")


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("mlxk is shutting down.")
