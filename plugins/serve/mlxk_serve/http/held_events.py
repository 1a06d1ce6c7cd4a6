"""The events of a response that is not streamed, until they are written together."""

from __future__ import annotations

from mlxk_core.api.generation import Completion, Delta, Event, PromptLogprobs, join_events
from mlxk_core.api.server import ApiError
from mlxk_serve.http.byte_budget import ByteBudget, Share

_SCORE = 200
"""Bytes of a log probability: a token or an alternative to it, with its text."""
_MANY = 20_000
"""Log probabilities that take a tenth of a second to encode."""
TOO_MANY = ApiError(
    503,
    "Too many log probabilities are held for responses that are not streamed. Use `stream`, or ask for fewer.",
    code="too_many_logprobs",
    headers={"retry-after": "5"},
)


class HeldEvents:
    """Holds events by choice. Their log probabilities take a share of `budget`: there may be millions, and they grow
    with tokens, choices and alternatives."""

    def __init__(self, budget: ByteBudget) -> None:
        self._events: dict[int, list[Event]] = {}
        self._scores = 0
        self._share = Share(budget)

    def add(self, index: int, event: Event) -> None:
        """Hold the next event of choice `index`. Raises `ApiError` (503) if the budget is spent."""
        if isinstance(event, (Delta, PromptLogprobs)) and event.tokens:
            self._scores += sum(1 + len(token.top) for token in event.tokens)
            if not self._share.grow_to(self._scores * _SCORE):
                raise TOO_MANY.with_traceback(None)
        self._events.setdefault(index, []).append(event)

    @property
    def many(self) -> bool:
        """Whether encoding them takes so long that the other responses must not wait for it."""
        return self._scores > _MANY

    def completions(self) -> list[Completion]:
        """Return the choices in order."""
        return [join_events(self._events[index]) for index in sorted(self._events)]

    def release(self) -> None:
        """Forget the events."""
        self._events.clear()
        self._share.release()
