"""What passes between a request's own thread and the engine thread: the job, and the items in its outbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from queue import SimpleQueue
from typing import TYPE_CHECKING

from mlxk_core._generation.engine import Row, StepEvent
from mlxk_core._host.specs import BackendSpec
from mlxk_core._models.model import Model

if TYPE_CHECKING:
    from mlxk_core._generation.residency import Resident


class JobState(Enum):
    """Where a job is. Only the engine thread changes it."""

    WANTS_MODEL = auto()
    HAS_MODEL = auto()
    """The model is leased; the request's own thread is rendering the prompt."""
    WAITS = auto()
    RUNS = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class LoadStarted:
    """The job's model was not resident; its load begins."""


@dataclass(frozen=True, slots=True)
class Leased:
    """The job's model is resident until the job is over. `at` is monotonic seconds."""

    resident: Resident
    at: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """The row is with the engine."""

    at: float


@dataclass(frozen=True, slots=True)
class Stepped:
    """What one step of the engine brought for this job."""

    events: Sequence[StepEvent]
    at: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The job is over; it failed."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody cancelled the job; put by whoever did, so that nobody waits for the engine."""


Item = LoadStarted | Leased | Admitted | Stepped | Failed | Cancelled


class Outbox:
    """Items on their way from the engine thread to the consumer of a request, in order."""

    def __init__(self) -> None:
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._notify: Callable[[], None] | None = None

    def put(self, item: Item) -> None:
        self._items.put(item)
        if self._notify is not None:
            self._notify()

    def get(self, timeout: float | None = None) -> Item:
        """Return the next item. Raises `queue.Empty` after `timeout` seconds without one."""
        return self._items.get(timeout=timeout)

    def notify(self, callback: Callable[[], None]) -> None:
        """Call `callback` now and after each item that is put, on the thread that puts it."""
        self._notify = callback
        callback()


@dataclass(eq=False, slots=True)
class Job:
    """One request on its way. `outbox` is read by the request's own thread; all else belongs to the engine thread."""

    id: int
    model: Model
    backend: BackendSpec
    outbox: Outbox = field(default_factory=Outbox)
    state: JobState = JobState.WANTS_MODEL
    resident: Resident | None = None
    row: Row | None = None
    admitted_at: float = 0.0
    need: int | None = None
    """Bytes its model takes when it is loaded, once the backend was asked."""
