"""Dropping the oldest turns of a conversation that does not fit into the context."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, count
from typing import Protocol, TypeVar

from mlxk_core._errors import ContextLengthExceeded
from mlxk_core._generation.request import GenerationRequest, Message

_ROOM = 4
"""The part of the context that is left to the answer, where the request does not say: one in so many."""
_GUESSES = 8
"""Renderings, which may take seconds each, after which no more is concluded from the size of a prompt."""
_CHARACTERS = 4
"""Of a token, roughly."""
_MESSAGE = 20
"""Characters around a message, roughly."""


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
    sizes = list(accumulate(map(_size, reversed(messages))))[::-1]
    first, last = 0, len(starts) - 1
    found: _P | None = None
    dropped = 0  # most conversations fit as they are
    for attempt in count():  # the smallest number of turns to drop is from `first` to `last`
        if first == last:
            return found if found is not None else render(_without(request, messages, starts[last]))
        size = sizes[starts[dropped]]
        try:
            prompt = render(_without(request, messages, starts[dropped]))
        except ContextLengthExceeded:  # it may not have counted the tokens
            fits, likely = False, min(size // 2, limit * _CHARACTERS)
        else:
            fits = len(prompt.tokens) <= limit
            likely = size * limit // max(len(prompt.tokens), 1)
        if fits:
            found, last = prompt, dropped
        else:
            first = dropped + 1
        if attempt < _GUESSES:
            dropped = bisect_left(starts, -likely, key=lambda start: -sizes[start])
        else:
            dropped = (first + last) // 2
        dropped = max(first, min(dropped, last - 1))
    raise AssertionError("unreachable")


def _size(message: Message) -> int:
    """Return about how many characters `message` adds to a prompt."""
    return _MESSAGE + len(message.content) + sum(len(call.arguments) for call in message.tool_calls)


def _turns(messages: Sequence[Message]) -> list[int]:
    """Return where each turn after the first one begins."""
    users = [i for i, message in enumerate(messages) if message.role == "user"]
    return users[1:]


def _without(request: GenerationRequest, messages: Sequence[Message], start: int) -> GenerationRequest:
    system = [message for message in messages[:start] if message.role == "system"]
    return replace(request, prompt=[*system, *messages[start:]])
