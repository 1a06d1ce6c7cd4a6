"""A running request as its consumer sees it: iterate the events, cancel at any time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from queue import Empty
from types import TracebackType

from mlxk_core._errors import MlxkError
from mlxk_core._generation.completion import Completion, join_events
from mlxk_core._generation.constraint import TokenConstraint
from mlxk_core._generation.constraint_plan import LongCompilation, SlowWork
from mlxk_core._generation.engine import Prefilled, PromptScored, Sampled, StepEvent
from mlxk_core._generation.engine_errors import request_error
from mlxk_core._generation.engine_thread import EngineThread
from mlxk_core._generation.events import (
    Event,
    Finished,
    FinishReason,
    Loading,
    Progress,
    PromptLogprobs,
    Usage,
    UsageUpdate,
)
from mlxk_core._generation.job_state import JobState
from mlxk_core._generation.jobs import (
    ConstraintFailed,
    ConstraintReady,
    Job,
    JobCancelled,
    JobFailed,
    JobUpdate,
    LoadStarted,
    ModelLeased,
    Resident,
    RowAdmitted,
    RowStepped,
)
from mlxk_core._generation.lifecycle import RequestFinished
from mlxk_core._generation.pipeline import TextPipeline
from mlxk_core._generation.prompts import SharedPrompt
from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.request_plan import Plan
from mlxk_core._generation.row_preparation import prepare
from mlxk_core._generation.slow_checks import SlowCheck, SlowChecks
from mlxk_core._generation.stage_clock import StageClock
from mlxk_core._host.host import Host
from mlxk_core._isolation.stdout import quiet_thread


class Generation:
    """The events of one request: `Loading`?, `Started`, `Progress`*, deltas, `Finished`.

    `next` and iteration belong to one thread, the request's own: templates, tokens and text are processed there.
    `cancel` may be called from any thread and from a signal handler. An error is raised once, as an `MlxkError`.
    Use it as a context manager, or call `close`: a generation that is not read keeps its place in the batch.
    """

    def __init__(
        self,
        request: GenerationRequest,
        plan: Plan,
        job: Job,
        prompt: SharedPrompt,
        engine_thread: EngineThread,
        slow_checks: SlowChecks,
        host: Host,
    ) -> None:
        self._request = request
        self._plan = plan
        self._job = job
        self._prompt = prompt
        self._engine_thread = engine_thread
        self._slow_checks = slow_checks
        self._host = host
        self._unread: deque[Event] = deque()
        self._pipeline: TextPipeline | None = None
        self._clock = StageClock(time.monotonic())
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._ended = False
        self._cancelled = False
        self._resident: Resident | None = None
        self._check: SlowCheck | None = None
        if plan.constraint is not None and plan.constraint.unchecked is not None:
            self._start_check(plan.constraint.unchecked)

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self.next()
        assert event is not None
        return event

    def __enter__(self) -> Generation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def next(self, timeout: float | None = None) -> Event | None:
        """Return the next event, or None after `timeout` seconds without one. Raises `StopIteration` after the last."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._unread:
            if self._ended:
                raise StopIteration
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                update = self._job.outbox.get(timeout=left)
            except Empty:
                return None
            self._handle_update(update)
        return self._unread.popleft()

    @property
    def blocking(self) -> bool:
        """Whether `poll` may block even after it returned `Started`: the detokenizer waits for another process."""
        return self._pipeline is not None and self._pipeline.blocking

    @property
    def heavy(self) -> bool:
        """Whether `poll` may take long from now on: the format holds much text back, and reads it at its end."""
        return self._pipeline is not None and self._pipeline.heavy

    @property
    def unread(self) -> int:
        """The number of updates and events that wait to be read; eight scores of prompt tokens count for one more."""
        return len(self._unread) + len(self._job.outbox)

    @property
    def alternatives(self) -> int:
        """The number of alternatives that come with each token."""
        return self._request.sampling.logprobs or 0

    def poll(self) -> list[Event] | None:
        """Take the events that have arrived, without waiting.

        A list means "call again", even an empty one: not every update produces an event. None means that nothing has
        arrived: call again after the callback of `on_update`. Raises `StopIteration` after the last event.
        """
        if not self._unread:
            if self._ended:
                raise StopIteration
            outbox = self._job.outbox
            if outbox.empty():
                return None
            self._handle_update(outbox.get())
        events = list(self._unread)
        self._unread.clear()
        return events

    def on_update(self, callback: Callable[[], None]) -> None:
        """Call `callback` now, and later on another thread whenever `poll` may return more. It must not block.

        For a consumer of many generations. `poll` renders the prompt before it returns `Started`, which may take long;
        after that it may block only if the generation is `blocking`, and take long only if it is `heavy`.
        """
        self._job.outbox.notify(callback)

    def cancel(self) -> None:
        """End the generation: its row is free within a step, and the events end with `Finished("cancelled")`."""
        if not self._cancelled:
            self._cancelled = True
            self._engine_thread.end_job(self._job, JobState.CANCELLED)
            if (check := self._check) is not None:
                check.cancel()
            self._job.outbox.put(JobCancelled())

    def close(self) -> None:
        """Cancel unless the generation has ended, and discard the unread events."""
        self._end_job(JobState.CANCELLED)
        self._unread.clear()

    def result(self) -> Completion:
        """Read the events to the end and join them."""
        return join_events(self)

    def _handle_update(self, update: JobUpdate) -> None:
        """Turn `update` into events. An error ends the generation."""
        try:
            with quiet_thread():
                self._apply_update(update)
        except BaseException as error:  # a panic in a Rust extension (tokenizers) is not an `Exception`
            self._unread.clear()
            interrupted = isinstance(error, KeyboardInterrupt)
            self._end_job(JobState.CANCELLED if interrupted else JobState.FAILED, error=error)
            if isinstance(error, (MlxkError, KeyboardInterrupt)):
                raise
            raise request_error(self._host, self._job.backend, error) from error

    def _apply_update(self, update: JobUpdate) -> None:
        if type(update) is RowStepped:  # first: most updates are tokens
            for event in update.events:
                if not self._ended:
                    self._apply_step_event(event, update.at)
            return
        match update:
            case LoadStarted():
                self._clock.loaded = True
                self._unread.append(Loading(self._request.model.name))
            case ModelLeased():
                self._clock.leased = update.at
                self._resident = update.resident
                if self._check is None:
                    self._submit_row(update.resident)
            case ConstraintReady():
                self._check = None
                if self._resident is not None:
                    self._submit_row(self._resident, update.compiled)
            case RowAdmitted():
                self._clock.admitted = update.at
            case ConstraintFailed() | JobFailed():
                raise update.error
            case JobCancelled():
                self._emit_finished("cancelled")

    def _submit_row(self, resident: Resident, compiled: TokenConstraint | None = None) -> None:
        """Render the prompt and submit its row to the engine thread; if its constraint takes long to compile, that is
        done first, and this called again with the result."""
        reads_calls = self._plan.formats.read_calls_of(self._request.model)
        prompt = self._prompt.get(resident.engine, self._request, self._plan.window, reads_calls=reads_calls)
        self._prompt_tokens = len(prompt.tokens)
        try:
            prepared = prepare(self._request, self._plan, resident, prompt, id=self._job.id, compiled=compiled)
        except LongCompilation as long:
            self._start_compilation(long)
            return
        self._pipeline = prepared.pipeline
        self._clock.submitted_row = time.monotonic()
        self._unread.append(prepared.started)
        if not prepared.needs_engine:
            self._emit_finished("length")
            return
        if self._request.prompt_logprobs is not None:  # nothing precedes the first token, so it has no score
            self._unread.append(PromptLogprobs((prepared.pipeline.prompt_token(prompt.tokens[0]),)))
        self._engine_thread.submit_row(self._job, prepared.row)

    def _start_check(self, work: SlowWork) -> None:
        def check(waiting: Callable[[], None]) -> None:
            work(waiting)
            self._job.outbox.put(ConstraintReady())

        self._start_slowly(check)

    def _start_compilation(self, long: LongCompilation) -> None:
        def compilation(waiting: Callable[[], None]) -> None:
            self._job.outbox.put(ConstraintReady(long.work(waiting)))

        self._start_slowly(compilation)

    def _start_slowly(self, work: SlowWork) -> None:
        """Do `work`, which puts an update into the outbox, where clients have their turns."""

        def on_error(error: BaseException) -> None:
            self._job.outbox.put(ConstraintFailed(error))

        self._check = check = SlowCheck(work, on_error)
        self._slow_checks.submit(self._job.client, check)
        if self._cancelled:  # meanwhile, on another thread
            check.cancel()

    def _apply_step_event(self, event: StepEvent, at: float) -> None:
        assert self._pipeline is not None
        if isinstance(event, Sampled):  # first: most events are tokens
            self._clock.first = self._clock.first or at
            self._clock.last = at
            events = self._pipeline.feed(event)
            if self._request.report_usage:
                self._unread.append(UsageUpdate(self._usage()))
            self._unread.extend(events)
            if self._pipeline.reason is not None:
                self._emit_finished(self._pipeline.reason)
        elif isinstance(event, Prefilled):
            self._cached_tokens = max(self._cached_tokens, event.cached)
            self._unread.append(Progress(event.done, event.total))
        elif isinstance(event, PromptScored):
            if event.tokens:
                self._unread.append(PromptLogprobs(tuple(map(self._pipeline.scored_token, event.tokens))))
            if event.finish:
                self._emit_finished("length")

    def _emit_finished(self, reason: FinishReason) -> None:
        pipeline = self._pipeline
        if pipeline is not None and pipeline.reason is None:
            self._unread.extend(pipeline.finish(reason))
        stop_string = pipeline.stop_string if pipeline else None
        stop_token = pipeline.stop_token if pipeline else None
        self._unread.append(Finished(reason, self._usage(), self._clock.timings(), stop_string, stop_token))
        # Needed for a stop string, which the engine does not know. A row that the engine ended does not change.
        self._end_job(JobState.CANCELLED if reason == "cancelled" else JobState.FINISHED, reason)

    def _usage(self) -> Usage:
        pipeline = self._pipeline
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=pipeline.completion_tokens if pipeline else 0,
            cached_tokens=self._cached_tokens,
            reasoning_tokens=pipeline.reasoning_tokens if pipeline else 0,
        )

    def _end_job(
        self, state: JobState, reason: FinishReason | None = "cancelled", *, error: BaseException | None = None
    ) -> None:
        if self._ended:
            return
        self._ended = True
        self._job.outbox.end_notifications()
        if self._check is not None:
            self._check.cancel()
        self._engine_thread.end_job(self._job, state)
        self._engine_thread.lifecycle.emit(
            RequestFinished(
                id=self._job.id,
                request=self._request,
                reason=None if error else reason,
                usage=self._usage(),
                timings=self._clock.timings(),
                error=error,
            )
        )
