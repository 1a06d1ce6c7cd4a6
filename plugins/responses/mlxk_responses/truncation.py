"""`truncation: auto`: drop the oldest turns of a conversation that does not fit into the context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlxk_core.api import Message
from mlxk_core.api.generation import GenerationRequest, GenerationService
from mlxk_core.api.models import model_context_length

_ROOM = 4
"""The part of the context that is left to the answer, where the request does not say: one in so many."""


def fitted(request: GenerationRequest, service: GenerationService) -> GenerationRequest:
    """Return `request` without its oldest turns, as few as possible, so that the answer has room.

    System messages and the last turn stay; a turn is a user message and all that follows it. Loads the model if the
    conversation may be too long. Raises what `GenerationService.prompt` raises.
    """
    window = model_context_length(request.model)
    messages = [message for message in request.prompt if isinstance(message, Message)]
    if window is None or sum(len(_text(message)) for message in messages) < window // 2:
        return request
    limit = window - min(request.max_tokens or window // _ROOM, window // 2)
    starts = [0, *_turns(messages)]
    first, last = 0, len(starts) - 1
    while first < last:  # the smallest number of turns to drop
        middle = (first + last) // 2
        if len(service.prompt(_without(request, messages, starts[middle])).tokens) <= limit:
            last = middle
        else:
            first = middle + 1
    return _without(request, messages, starts[first])


def _turns(messages: Sequence[Message]) -> list[int]:
    """Return where each turn after the first one begins."""
    users = [i for i, message in enumerate(messages) if message.role == "user"]
    return users[1:]


def _without(request: GenerationRequest, messages: Sequence[Message], start: int) -> GenerationRequest:
    system = [message for message in messages[:start] if message.role == "system"]
    return replace(request, prompt=[*system, *messages[start:]])


def _text(message: Message) -> str:
    return message.content + (message.reasoning or "") + "".join(call.arguments for call in message.tool_calls)
