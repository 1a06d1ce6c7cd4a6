"""The life cycle of a job: its states, the transitions between them, and who may cause each.

Everything that affects the state machine is in this file. The table is drawn in `docs/explanation/job-states.md` by
`tools/job_states.py`. All transitions are carried out on the engine thread, also those that a request causes.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class JobState(Enum):
    """The state of a job."""

    QUEUED = "queued"
    """Waits for its model: for memory, or for the load to end."""
    LEASED = "leased"
    """Its model is loaded and stays so; the request's own thread renders the prompt."""
    READY = "ready"
    """Its row waits for a free place in the batch."""
    RUNNING = "running"
    """The engine decodes its row."""
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    """Held its model without generating (a preload), and released it."""

    @property
    def terminal(self) -> bool:
        """Whether the job is over."""
        return self in TERMINAL


class Actor(Enum):
    """Who causes a transition."""

    SERVICE = "service"
    """The engine thread's own scheduling, and shutdown."""
    ENGINE = "engine"
    """An engine or its backend, by what it returned or raised."""
    REQUEST = "request"
    """The consumer of the request, from its own thread."""


class Transition(NamedTuple):
    """One allowed change of state."""

    source: JobState
    target: JobState
    actor: Actor
    when: str


class InvalidTransition(RuntimeError):
    """A change of state that the table does not allow: a bug in mlxk, never an error of a request."""


_S, _A = JobState, Actor

TRANSITIONS: tuple[Transition, ...] = (
    Transition(_S.QUEUED, _S.LEASED, _A.SERVICE, "the model is loaded"),
    Transition(_S.QUEUED, _S.FAILED, _A.SERVICE, "the model cannot fit into memory, or the service shuts down"),
    Transition(_S.QUEUED, _S.FAILED, _A.ENGINE, "the load failed"),
    Transition(_S.QUEUED, _S.FAILED, _A.REQUEST, "its own thread failed"),
    Transition(_S.QUEUED, _S.CANCELLED, _A.REQUEST, "cancelled or disconnected"),
    Transition(_S.QUEUED, _S.RELEASED, _A.REQUEST, "a preload was abandoned, or only a tokenizer was used"),
    Transition(_S.LEASED, _S.READY, _A.REQUEST, "the prompt is rendered and the row submitted"),
    Transition(_S.LEASED, _S.FAILED, _A.REQUEST, "the prompt cannot be rendered or does not fit"),
    Transition(_S.LEASED, _S.FAILED, _A.SERVICE, "the service shuts down"),
    Transition(_S.LEASED, _S.FAILED, _A.ENGINE, "a task of it failed"),
    Transition(_S.LEASED, _S.FINISHED, _A.REQUEST, "the request asks for no token"),
    Transition(_S.LEASED, _S.CANCELLED, _A.REQUEST, "cancelled or disconnected"),
    Transition(_S.LEASED, _S.RELEASED, _A.REQUEST, "a preload is complete"),
    Transition(_S.READY, _S.RUNNING, _A.SERVICE, "the batch has a free place"),
    Transition(_S.READY, _S.FAILED, _A.ENGINE, "the engine rejected the row, or was lost"),
    Transition(_S.READY, _S.FAILED, _A.SERVICE, "the service shuts down"),
    Transition(_S.READY, _S.FAILED, _A.REQUEST, "its own thread failed"),
    Transition(_S.READY, _S.CANCELLED, _A.REQUEST, "cancelled or disconnected"),
    Transition(_S.RUNNING, _S.FINISHED, _A.ENGINE, "a stop token, or max_tokens"),
    Transition(_S.RUNNING, _S.FINISHED, _A.REQUEST, "a stop string, or the end of the tool calls"),
    Transition(_S.RUNNING, _S.FAILED, _A.ENGINE, "the step or the row failed"),
    Transition(_S.RUNNING, _S.FAILED, _A.REQUEST, "the text of the response could not be processed"),
    Transition(_S.RUNNING, _S.FAILED, _A.SERVICE, "the engine stalled, or the service shuts down"),
    Transition(_S.RUNNING, _S.CANCELLED, _A.REQUEST, "cancelled or disconnected"),
)
"""Every allowed transition. What is not listed is a bug."""

_ALLOWED = frozenset((t.source, t.target, t.actor) for t in TRANSITIONS)
TERMINAL = frozenset(JobState) - {t.source for t in TRANSITIONS}
"""The states that no transition leaves."""


def check_transition(source: JobState, target: JobState, actor: Actor) -> None:
    """Raise `InvalidTransition` unless `actor` may move a job from `source` to `target`."""
    if (source, target, actor) not in _ALLOWED:
        raise InvalidTransition(f"job: {source.value} -> {target.value} by {actor.value} is not allowed")
