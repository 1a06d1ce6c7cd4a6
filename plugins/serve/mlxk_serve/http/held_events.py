"""The events of a response that is not streamed, until they are written together."""

from __future__ import annotations

from mlxk_core.api.generation import (
    Completion,
    Delta,
    Event,
    PackedTokens,
    PromptLogprobs,
    Started,
    ToolCallDelta,
    join_events,
    join_runs,
)
from mlxk_core.api.server import ApiError
from mlxk_serve.http.byte_budget import ByteBudget, Share

_MANY = 1 << 20
"""Bytes of log probabilities that take a tenth of a second to encode."""
_CHARACTER = 4  # bytes at most
_RUN = 256
"""Events that are joined when so many have come."""


class HeldEvents:
    """Holds events by choice, for `client`. Their texts and log probabilities take a share of `budget`, of which one
    response has a fourth at most: they grow with prompts, tokens, choices and alternatives."""

    def __init__(self, budget: ByteBudget, client: str) -> None:
        self._events: dict[int, list[Event]] = {}
        self._separate: dict[int, int] = {}
        """How many events of each choice have come since some were joined."""
        self._size = 0
        self._most = budget.most // 4
        self._share = Share(budget, client)

    def add(self, index: int, event: Event) -> None:
        """Hold the next event of choice `index`. Raises `ApiError`, 503 if the budget is spent."""
        self._count(_CHARACTER * len(_text(event)), "text", "response_too_large")
        if isinstance(event, (Delta, PromptLogprobs)) and event.tokens:
            packed = PackedTokens.of(event.tokens)
            event = Delta(event.channel, event.text, packed) if isinstance(event, Delta) else PromptLogprobs(packed)
            self._count(packed.size, "log probabilities", "too_many_logprobs")
        held = self._events.setdefault(index, [])
        held.append(event)
        self._separate[index] = self._separate.get(index, 0) + 1
        if self._separate[index] == _RUN:  # objects for each token are visited by each collection of garbage
            held[-_RUN:] = join_runs(held[-_RUN:])
            self._separate[index] = 0

    def _count(self, size: int, what: str, code: str) -> None:
        self._size += size
        if self._size > self._most:
            raise ApiError(
                400, f"This response has more {what} than is held. Use `stream`, or ask for less.", code=code
            )
        if not self._share.grow_to(self._size):
            raise ApiError(
                503,
                f"Other responses hold the {what} that there is room for. Use `stream`, or ask for less.",
                code=code,
                headers={"retry-after": "5"},
            )

    @property
    def many(self) -> bool:
        """Whether encoding them takes so long that the other responses must not wait for it."""
        return self._size > _MANY

    def completions(self) -> list[Completion]:
        """Return the choices in order."""
        return [join_events(self._events[index]) for index in sorted(self._events)]

    def release(self) -> None:
        """Forget the events."""
        self._events.clear()
        self._share.release()


def _text(event: Event) -> str:
    match event:
        case Delta(text=text) | Started(prompt_text=text) | ToolCallDelta(arguments=text):
            return text
    return ""
