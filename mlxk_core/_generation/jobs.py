"""Jobs and the loaded models they need: what request threads and the engine thread share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from mlxk_core._generation.constraint import TokenConstraint, Vocabulary
from mlxk_core._generation.engine import Engine, PromptCachingEngine, PromptScored, Row, RowMemoryEngine, StepEvent
from mlxk_core._generation.engine_values import byte_count
from mlxk_core._generation.job_state import Actor, JobState, check_transition
from mlxk_core._host.specs import BackendSpec
from mlxk_core._models.in_use import InUseMark
from mlxk_core._models.model import Model


@dataclass(frozen=True, slots=True)
class LoadStarted:
    """The job's model is not loaded; its load begins."""


@dataclass(frozen=True, slots=True)
class ModelLeased:
    """The job's model stays loaded until the job is over. `at` is monotonic seconds."""

    resident: Resident
    at: float


@dataclass(frozen=True, slots=True)
class RowAdmitted:
    """The engine accepted the row. `at` is monotonic seconds."""

    at: float


@dataclass(slots=True)  # not frozen: one is made for every token, and a frozen one takes three times as long
class RowStepped:
    """The events of one engine step that concern this job. `at` is monotonic seconds."""

    events: Sequence[StepEvent]
    at: float


@dataclass(frozen=True, slots=True)
class TaskDone:
    """A task of this job has run on the engine thread."""

    result: object


@dataclass(frozen=True, slots=True)
class ConstraintReady:
    """What took long for the constraint is done. `compiled` is the constraint of the row, None after a check."""

    compiled: TokenConstraint | None = None


@dataclass(frozen=True, slots=True)
class ConstraintFailed:
    """The constraint is invalid, or its compiler failed."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The job is over; it failed."""

    error: Exception


@dataclass(frozen=True, slots=True)
class JobCancelled:
    """The job was cancelled; put by the thread that cancelled it, so that the consumer need not wait for the engine."""


JobUpdate = (
    LoadStarted
    | ModelLeased
    | RowAdmitted
    | RowStepped
    | TaskDone
    | ConstraintReady
    | ConstraintFailed
    | JobFailed
    | JobCancelled
)
"""What the request's own thread reads from a job's outbox."""


class Outbox:
    """Updates from the engine thread to the consumer of a request, in order."""

    def __init__(self) -> None:
        self._updates: SimpleQueue[JobUpdate] = SimpleQueue()
        self._notify: Callable[[], None] | None = None
        self._scores_put = self._scores_taken = 0  # each is written by one thread

    def put(self, update: JobUpdate) -> None:
        self._scores_put += _scores(update)
        self._updates.put(update)
        notify = self._notify  # another thread may end it meanwhile
        if notify is not None:
            notify()

    def __len__(self) -> int:
        """Return the number of updates. Scores of prompt tokens, which are packed, count for an eighth of one each."""
        return self._updates.qsize() + (self._scores_put - self._scores_taken) // 8

    def empty(self) -> bool:
        """Return whether there is no update now."""
        return self._updates.empty()

    def get(self, timeout: float | None = None) -> JobUpdate:
        """Return the next update. Raises `queue.Empty` after `timeout` seconds without one."""
        update = self._updates.get() if timeout is None else self._updates.get(timeout=timeout)
        self._scores_taken += _scores(update)
        return update

    def notify(self, callback: Callable[[], None]) -> None:
        """Call `callback` now and after each update, on the thread that puts it."""
        self._notify = callback
        callback()

    def end_notifications(self) -> None:
        """Forget the callback, which refers to what refers to this."""
        self._notify = None


def _scores(update: JobUpdate) -> int:
    """Return how many scores of prompt tokens an update of the engine thread has."""
    if type(update) is not RowStepped:
        return 0
    return sum(len(event.tokens) for event in update.events if type(event) is PromptScored)


@dataclass(eq=False, slots=True)
class Job:
    """One request in the service.

    `outbox` is read by the request's own thread; everything else belongs to the engine thread.
    """

    id: int
    model: Model
    backend: BackendSpec
    outbox: Outbox = field(default_factory=Outbox)
    resident: Resident | None = None
    row: Row | None = None
    admitted_at: float = 0.0
    events: int = 0
    """The number of events of its row so far."""
    task_seconds: float = 0.0
    """How long its tasks have taken so far."""
    client: str = ""
    """The client of the request."""
    ttl: float | None = None
    """Idle seconds that its model stays loaded afterwards; negative: without limit; None: the service's default."""
    estimate: int | None = None
    """Bytes its model takes once loaded; None until the backend was asked."""
    to_load: Model | None = None
    """Its model, of which nothing was read before the estimate."""
    _state: JobState = JobState.QUEUED

    @property
    def state(self) -> JobState:
        return self._state

    @property
    def ended(self) -> bool:
        return self._state.terminal

    def change_state(self, state: JobState, by: Actor) -> None:
        """Change the state. Raises `InvalidTransition` where the table of `job_state` does not allow it."""
        check_transition(self._state, state, by)
        self._state = state


ResidentKey = tuple[Model, str]
"""A model and the name of its backend: what can be loaded once."""


@dataclass(eq=False, slots=True)
class Resident:
    """A loaded model."""

    model: Model
    backend: BackendSpec
    engine: Engine
    leases: int = 0
    """Jobs that need it."""
    rows: dict[int, Job] = field(default_factory=dict)
    """Jobs that the engine runs, by id."""
    last_used: float = field(default_factory=time.monotonic)
    closed: bool = False
    memory: int = 0
    """Bytes that the engine held when it was last asked."""
    weights: int = 0
    """Bytes that the engine held when it was loaded."""
    prompt_cache: int = 0
    """Bytes of the engine's prompt cache when it was last asked; part of `memory`."""
    ttl: float | None = None
    """Seconds that the model stays loaded while it is idle (None: without limit)."""
    retired: bool = False
    """Whether it is unloaded as soon as it is idle; the next request for it ends that."""
    vocabulary: Vocabulary | None = None
    """What constraints are compiled for, once a request has needed it."""
    stop_tokens: frozenset[int] | None = None
    """The token ids that end a response, once a request has needed them."""
    mark: InUseMark | None = None
    """The mark that other processes see while the model is loaded."""

    def refresh_memory(self) -> int:
        """Update `memory` and `prompt_cache` from the engine and return `memory`, in bytes. An error of the engine, and
        what is not a number, keeps the last value."""
        with contextlib.suppress(BaseException):  # see engine_thread: an engine's error costs its own requests only
            self.memory = byte_count(self.engine.memory)
        with contextlib.suppress(BaseException):
            if isinstance(self.engine, PromptCachingEngine):  # may raise itself: it looks up properties
                self.prompt_cache = byte_count(self.engine.prompt_cache_bytes)
        return self.memory

    def drop_prompts(self, size: int) -> int:
        """Make the engine drop prompts of `size` bytes and return how many became free: none if it keeps no prompts,
        fails, or returns something else."""
        with contextlib.suppress(BaseException):
            if isinstance(self.engine, PromptCachingEngine):
                return byte_count(self.engine.drop_prompts(size))
        return 0

    @property
    def counts_rows(self) -> bool:
        """Whether the engine says what rows take."""
        with contextlib.suppress(BaseException):
            return isinstance(self.engine, RowMemoryEngine)
        return False

    def row_bytes(self, row: Row) -> int | None:
        """Return the bytes that `row` needs to begin; None if the engine does not say. Raises what the engine raises,
        and `TypeError` for what is not a number."""
        return byte_count(self.engine.row_bytes(row)) if isinstance(self.engine, RowMemoryEngine) else None

    @property
    def key(self) -> ResidentKey:
        return (self.model, self.backend.name)

    @property
    def idle(self) -> bool:
        return self.leases == 0

    @property
    def expires_at(self) -> float:
        """Monotonic time when it is unloaded if it stays idle."""
        if self.retired:
            return self.last_used
        return float("inf") if self.ttl is None else self.last_used + self.ttl
