"""The events of one engine step, sorted by row and checked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from mlxk_core._generation.engine import Prefilled, PromptScored, RowFailed, Sampled, ScoredToken, StepEvent
from mlxk_core._generation.packed_tokens import PackedTokens

_MOST_EVENTS = 4096
"""Of a row in one step. They are read at once, and those of other rows wait."""


def sort_by_row(events: Iterable[StepEvent], rows: Collection[int]) -> dict[int, list[StepEvent]]:
    """Return the events of each of the active `rows`; those of other rows are dropped. Raises for one without an id."""
    found: dict[int, list[StepEvent]] = {}
    for event in events:
        if isinstance(event.id, int) and event.id in rows:
            found.setdefault(event.id, []).append(event)
    return found


@dataclass(slots=True)
class RowEvents:
    """What one row did in a step: its valid events, up to its end.

    `error` is what it failed with, `malformed` describes an event that cannot be used; either ends the row too.
    """

    valid: Sequence[StepEvent] = ()
    finished: bool = False
    error: Exception | None = None
    malformed: str | None = None

    @property
    def prompt_read(self) -> bool:
        """Whether one of the events shows that the whole prompt was read."""
        return any(
            isinstance(event, Sampled) or (isinstance(event, Prefilled) and event.done == event.total)
            for event in self.valid
        )


def read_row(events: Sequence[StepEvent]) -> RowEvents:
    """Return the events of one row; those after its end are dropped."""
    if len(events) == 1 and _is_token(events[0]):
        return RowEvents(events)  # the usual case
    if len(events) > _MOST_EVENTS:
        return RowEvents(malformed=f"{len(events)} events of one row")
    valid: list[StepEvent] = []
    found = RowEvents(valid)
    for event in events:
        found.malformed = malformed_event(event)
        if found.malformed:
            break
        if isinstance(event, RowFailed):
            found.error = event.error
            break
        if isinstance(event, PromptScored):
            try:
                event = replace(event, tokens=PackedTokens.of_scores(event.tokens))
            except (TypeError, ValueError):
                found.malformed = _invalid(event)
                break
        valid.append(event)
        if isinstance(event, (Sampled, PromptScored)) and event.finish:
            found.finished = True
            break
    return found


def malformed_event(event: object) -> str | None:
    """Return what is wrong with an event of a step; None if it is well-formed."""
    if _is_token(event):
        return None
    match event:
        case Sampled(token=int(), finish=None | "stop" | "length" | "complete") | RowFailed(error=Exception()):
            return None
        case Prefilled(done=int(), total=int(), cached=int()) if 0 <= event.done <= event.total:
            return None
        case PromptScored(finish=bool(), tokens=Sequence()) if all(_is_scored(token) for token in event.tokens):
            return None
        case Sampled() | Prefilled() | PromptScored() | RowFailed():
            return _invalid(event)
    return f"{type(event).__name__}, which is not an event"


def _invalid(event: StepEvent) -> str:
    return f"a {type(event).__name__} with an invalid field: {str(event)[:200]}"


def _is_token(event: object) -> bool:
    """Return whether an event is a well-formed token after which the row goes on."""
    return type(event) is Sampled and event.finish is None and type(event.token) is int


def _is_scored(token: object) -> bool:
    match token:
        case ScoredToken(token=int(), logprob=float(), rank=int()):
            return True
    return False
