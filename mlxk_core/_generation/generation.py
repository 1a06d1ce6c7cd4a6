"""A running request as its consumer sees it: iterate the events, cancel at any time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from queue import Empty
from types import TracebackType

from mlxk_core._errors import MlxkError
from mlxk_core._generation.answer_grammar import is_constrained
from mlxk_core._generation.completion import Completion, join_events
from mlxk_core._generation.constraint_plan import ConstraintPlan
from mlxk_core._generation.engine import Prefilled, PromptScored, Row, Sampled
from mlxk_core._generation.engine_thread import EngineThread
from mlxk_core._generation.events import (
    Event,
    Finished,
    FinishReason,
    Loading,
    Progress,
    PromptLogprobs,
    Started,
    Timings,
    Usage,
    UsageUpdate,
)
from mlxk_core._generation.extractor import Extractor, ExtractorContext, PlainText
from mlxk_core._generation.generic_tools import GenericToolExtractor
from mlxk_core._generation.job_state import JobState
from mlxk_core._generation.jobs import (
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
from mlxk_core._generation.lifecycle import RequestAccepted, RequestFinished
from mlxk_core._generation.min_tokens import MinTokens
from mlxk_core._generation.pipeline import TextPipeline, VerbatimAnswer
from mlxk_core._generation.prompts import SharedPrompt
from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.stops import StopTokenCache
from mlxk_core._generation.tool_call_filter import ToolCallFilter
from mlxk_core._host.specs import StopPolicy
from mlxk_core._models.budget import budget
from mlxk_core._text.stop_strings import StopStrings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to run one request, decided from the plugins and the model's files before it is queued.

    `window` is the context length in tokens.
    """

    window: int | None
    stop_strings: StopStrings
    stop_policy: StopPolicy
    stop_tokens: StopTokenCache
    format_name: str | None = None
    extractor: Callable[[ExtractorContext], Extractor] | None = None
    tool_extractor: Callable[[ExtractorContext], Extractor] | None = None
    """Finds tool calls in the content of `extractor`; for requests that have tools."""
    constraint: ConstraintPlan | None = None
    reads_calls: Callable[[GenerationRequest], bool] = lambda request: True
    """Whether the model's calls can be read in its own form."""


@dataclass(slots=True)
class _Clock:
    """When each stage of a request was reached, in monotonic seconds."""

    submitted: float
    leased: float = 0.0
    submitted_row: float = 0.0
    admitted: float = 0.0
    first: float = 0.0
    last: float = 0.0
    loaded: bool = False

    def timings(self) -> Timings:
        waited_for_model = self.leased - self.submitted if self.leased else 0.0
        waited_for_place = self.admitted - self.submitted_row if self.admitted else 0.0
        return Timings(
            load=waited_for_model if self.loaded else 0.0,
            queue=waited_for_place + (0.0 if self.loaded else waited_for_model),
            prompt=self.first - self.admitted if self.first else 0.0,
            generation=self.last - self.first if self.first else 0.0,
        )


class Generation:
    """The events of one request: `Loading`?, `Started`, `Progress`*, deltas, `Finished`.

    `next` and iteration belong to one thread, the request's own: templates, tokens and text are processed there.
    `cancel` may be called from any thread and from a signal handler. An error is raised once, as an `MlxkError`.
    Use it as a context manager, or call `close`: a generation that is not read keeps its place in the batch.
    """

    def __init__(
        self, request: GenerationRequest, plan: Plan, job: Job, prompt: SharedPrompt, engine_thread: EngineThread
    ) -> None:
        self._request = request
        self._plan = plan
        self._job = job
        self._prompt = prompt
        self._thread = engine_thread
        job.client = request.client
        job.ttl = request.ttl
        self._ready: deque[Event] = deque()
        self._pipeline: TextPipeline | None = None
        self._clock = _Clock(time.monotonic())
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._over = False
        self._cancelled = False
        engine_thread.lifecycle.emit(RequestAccepted(id=job.id, request=request))
        self.prompt_text: str | None = None
        """The prompt as the engine reads it; set before `Started` is returned."""

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
        while not self._ready:
            if self._over:
                raise StopIteration
            if timeout == 0 and self._job.outbox.empty():  # cheaper than `get` for a thread that polls many requests
                return None
            try:
                update = self._job.outbox.get(
                    timeout=None if deadline is None else max(0.0, deadline - time.monotonic())
                )
            except Empty:
                return None
            try:
                self._process(update)
            except BaseException as error:
                self._ready.clear()
                interrupted = isinstance(error, KeyboardInterrupt)
                self._end(JobState.CANCELLED if interrupted else JobState.FAILED, error=error)
                if isinstance(error, (MlxkError, KeyboardInterrupt)):
                    raise
                # Also for a panic in a Rust extension (tokenizers), which is not an `Exception`.
                raise self._thread.error_of(self._job, error) from error
        return self._ready.popleft()

    def on_ready(self, callback: Callable[[], None]) -> None:
        """Call `callback` now and whenever `next(0)` may have more to return, on another thread. It must not block.

        For a consumer of many generations. Until `Started`, `next(0)` may take long: it renders the prompt.
        """
        self._job.outbox.notify(callback)

    def cancel(self) -> None:
        """End the generation: its row is free within a step, and the events end with `Finished("cancelled")`."""
        if not self._cancelled:
            self._cancelled = True
            self._thread.end_job(self._job, JobState.CANCELLED)
            self._job.outbox.put(JobCancelled())

    def close(self) -> None:
        """Cancel unless the generation has ended, and discard the unread events."""
        self._end(JobState.CANCELLED)
        self._ready.clear()

    def result(self) -> Completion:
        """Read the events to the end and join them."""
        return join_events(self)

    def _process(self, update: JobUpdate) -> None:
        match update:
            case LoadStarted():
                self._clock.loaded = True
                self._ready.append(Loading(self._request.model.name))
            case ModelLeased():
                self._clock.leased = update.at
                self._submit_row(update.resident)
            case RowAdmitted():
                self._clock.admitted = update.at
            case RowStepped():
                self._process_step(update)
            case JobFailed():
                raise update.error
            case JobCancelled():
                self._finish("cancelled")

    def _submit_row(self, resident: Resident) -> None:
        """Render the prompt, decide the token budget and submit the row to the engine thread."""
        request, plan, engine = self._request, self._plan, resident.engine
        prompt = self._prompt.get(engine, request, plan.window, reads_calls=plan.reads_calls(request))
        self.prompt_text = prompt.text
        self._prompt_tokens = len(prompt.tokens)
        allowed = budget(plan.window, self._prompt_tokens, asked=request.max_tokens, policy=request.token_policy)
        notes = list(prompt.notes)
        if request.max_tokens is not None and allowed < request.max_tokens:
            notes.append(
                f"max_tokens lowered from {request.max_tokens:,} to {allowed:,}, the room after the prompt in the "
                f"context of {plan.window:,} tokens."
            )
        context = ExtractorContext(model=request.model, prompt_suffix=prompt.suffix, tools=request.tools)
        model_stops = plan.stop_tokens.get(resident, plan.stop_policy)
        stop_tokens = frozenset(request.stop_tokens)
        if not request.ignore_eos or is_constrained(request):  # what is constrained ends where its grammar does
            stop_tokens |= model_stops | prompt.stop_tokens
        constraint = (
            plan.constraint.token_constraint(
                resident,
                model_stops,
                context,
                lambda: self._format_parser(context),
                generic_tools=prompt.generic_tools,
            )
            if plan.constraint is not None
            else None
        )
        if request.min_tokens and stop_tokens:
            constraint = MinTokens(constraint, request.min_tokens, stop_tokens, engine.tokenizer.vocab_size)
        row = Row(
            id=self._job.id,
            prompt=prompt.tokens,
            max_tokens=allowed,
            sampling=request.sampling,
            stop_tokens=stop_tokens,
            constraint=constraint,
            prompt_logprobs=request.prompt_logprobs,
        )
        if reads_prompt := allowed > 0 or request.prompt_logprobs is not None:
            engine.check(row)
        extractor = self._extractor(context, generic_tools=prompt.generic_tools)
        calls = ToolCallFilter(request.tools, parallel=request.parallel_calls)
        self._pipeline = TextPipeline(engine.tokenizer, extractor, plan.stop_strings, calls)
        self._clock.submitted_row = time.monotonic()
        self._ready.append(Started(self._prompt_tokens, allowed, plan.format_name, tuple(notes), prompt.text))
        if not reads_prompt:
            self._finish("length")
            return
        if request.prompt_logprobs is not None:  # the first token follows nothing
            self._ready.append(PromptLogprobs((self._pipeline.prompt_token(prompt.tokens[0]),)))
        self._thread.submit_row(self._job, row)

    def _extractor(self, context: ExtractorContext, *, generic_tools: bool) -> Extractor:
        """Return the extractor of the response: the format's, with those for tool calls and constraints around it."""
        request, plan = self._request, self._plan
        # Where tool calls are found around the format, it need not end its reasoning at what looks like one.
        inner_tools = () if plan.tool_extractor is not None or generic_tools else request.tools
        extractor = self._format_parser(replace(context, tools=inner_tools))
        if generic_tools:
            extractor = GenericToolExtractor(extractor, request.tools)
        elif plan.tool_extractor is not None:
            extractor = plan.tool_extractor(replace(context, inner=extractor))
        return extractor if request.constraint is None else VerbatimAnswer(extractor)

    def _format_parser(self, context: ExtractorContext) -> Extractor:
        if self._plan.extractor is None:
            return PlainText()
        return self._plan.extractor(context)

    def _process_step(self, step: RowStepped) -> None:
        assert self._pipeline is not None
        for event in step.events:
            if isinstance(event, Prefilled):
                self._cached_tokens = max(self._cached_tokens, event.cached)
                self._ready.append(Progress(event.done, event.total))
            elif isinstance(event, PromptScored):
                if event.tokens:
                    self._ready.append(PromptLogprobs(tuple(map(self._pipeline.scored_token, event.tokens))))
                if event.finish:
                    self._finish("length")
                    return
            elif isinstance(event, Sampled):
                self._clock.first = self._clock.first or step.at
                self._clock.last = step.at
                events = self._pipeline.feed(event)
                if self._request.report_usage:
                    self._ready.append(UsageUpdate(self._usage()))
                self._ready.extend(events)
                if self._pipeline.reason is not None:
                    self._finish(self._pipeline.reason)
                    return

    def _finish(self, reason: FinishReason) -> None:
        pipeline = self._pipeline
        if pipeline is not None and pipeline.reason is None:
            self._ready.extend(pipeline.finish(reason))
        stop_string = pipeline.stop_string if pipeline else None
        stop_token = pipeline.stop_token if pipeline else None
        self._ready.append(Finished(reason, self._usage(), self._clock.timings(), stop_string, stop_token))
        # A stop string ends the row; a row that ended by itself is over already.
        self._end(JobState.CANCELLED if reason == "cancelled" else JobState.FINISHED, reason)

    def _usage(self) -> Usage:
        pipeline = self._pipeline
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=pipeline.completion_tokens if pipeline else 0,
            cached_tokens=self._cached_tokens,
            reasoning_tokens=pipeline.reasoning_tokens if pipeline else 0,
        )

    def _end(
        self, state: JobState, reason: FinishReason | None = "cancelled", *, error: BaseException | None = None
    ) -> None:
        if self._over:
            return
        self._over = True
        self._thread.end_job(self._job, state)
        self._thread.lifecycle.emit(
            RequestFinished(
                id=self._job.id,
                request=self._request,
                reason=None if error else reason,
                usage=self._usage(),
                timings=self._clock.timings(),
                error=error,
            )
        )
