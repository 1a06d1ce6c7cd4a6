"""Dropping the oldest turns of a conversation that does not fit into the context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from mlxk_core._errors import ContextLengthExceeded
from mlxk_core._generation.request import GenerationRequest, Message

_ROOM = 4
"""The part of the context that is left to the answer, where the request does not say: one in so many."""


class Rendered(Protocol):
    """A prompt of which the tokens are counted."""

    @property
    def tokens(self) -> Sequence[int]: ...


_P = TypeVar("_P", bound=Rendered)


def fitted(request: GenerationRequest, window: int, render: Callable[[GenerationRequest], _P]) -> _P:
    """Return the prompt of `request` without its oldest turns, as few as possible, so that the answer has room in a
    context of `window` tokens. Raises what `render` raises for the last turn alone."""
    messages = request.messages
    limit = window - min(request.max_tokens or window // _ROOM, window // 2)
    starts = [0, *_turns(messages)]
    first, last = 0, len(starts) - 1
    fits: dict[int, _P] = {}
    while first < last:  # the smallest number of turns to drop
        middle = (first + last) // 2 if fits or first else first  # most conversations fit as they are
        prompt = _within(limit, render, _without(request, messages, starts[middle]))
        if prompt is None:
            first = middle + 1
        else:
            fits[middle], last = prompt, middle
    return fits.get(first) or render(_without(request, messages, starts[first]))


def _within(limit: int, render: Callable[[GenerationRequest], _P], request: GenerationRequest) -> _P | None:
    """Return the prompt of `request`; None if it has more than `limit` tokens."""
    try:
        prompt = render(request)
    except ContextLengthExceeded:
        return None
    return prompt if len(prompt.tokens) <= limit else None


def _turns(messages: Sequence[Message]) -> list[int]:
    """Return where each turn after the first one begins."""
    users = [i for i, message in enumerate(messages) if message.role == "user"]
    return users[1:]


def _without(request: GenerationRequest, messages: Sequence[Message], start: int) -> GenerationRequest:
    system = [message for message in messages[:start] if message.role == "system"]
    return replace(request, prompt=[*system, *messages[start:]])
