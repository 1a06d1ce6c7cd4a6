"""Probes: conversations of the shape of a real one whose pieces can be found again in the rendered prompt.

A template leaves out what it does not expect, without an error: content that it reads as a list of parts, a call where
it tells `null` from an empty text, a second system message. The real text cannot show that, since templates trim and
escape it; marker words can.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from typing import Any

from mlxk_core.api.generation import Message, ToolCall
from mlxk_mlx.engine.argument_repair import repaired_object

_CONTENT = {
    "system": "system messages",
    "user": "user messages",
    "assistant": "assistant messages",
    "tool": "tool results",
}

_MARKER = re.compile(r"mlxk\d+x")
_QUOTED_MARKER = re.compile(r"""(?:'|\\")(mlxk\d+x)""")
_WINDOW = 64
"""Messages at each end of a conversation that its probe has. Templates treat the first and the last ones differently,
not those between."""
_CALLS = 2
"""Calls of one message that its probe has: templates write the second like all that follow."""
_LONGEST_OPTION = 1024
"""Characters and values of a template option that a probe has."""
_DEEPEST_OPTION = 16
_Kind = tuple[str, bool, bool]
"""Of a message: its role, and whether it has content and calls."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A marker word and the part of the conversation that it represents."""

    marker: str
    what: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A conversation of markers. `messages` identifies the shape: equal shapes have equal probes."""

    messages: tuple[Message, ...]
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Probe:
        """Return the probe of the shape of `messages`."""
        markers = (f"mlxk{number}x" for number in count(100))
        ids: dict[str, str] = {}
        pieces: list[Piece] = []

        def marker(what: str) -> str:
            pieces.append(Piece(next(markers), what))
            return pieces[-1].marker

        def call_of(call: ToolCall) -> ToolCall:
            identifier = ids.setdefault(call.id, f"mlxk{len(ids):05}")
            value = repaired_object(call.arguments)
            arguments = {marker("tool calls"): marker("tool calls")} if value else {}
            text = marker("tool calls") if value is None else json.dumps(arguments)
            return ToolCall(id=identifier, name=marker("tool calls"), arguments=text)

        def message_of(message: Message) -> Message:
            what = "assistant text next to tool calls" if message.tool_calls else _CONTENT[message.role]
            return replace(
                message,
                content=marker(what) if message.content.strip() else message.content and " ",
                reasoning="mlxk thinks" if message.reasoning else message.reasoning,
                tool_calls=tuple(map(call_of, message.tool_calls)),
                tool_call_id=None if message.tool_call_id is None else ids.get(message.tool_call_id, "mlxk99999"),
                name=None if message.name is None else "mlxk_name",
            )

        return cls(tuple(map(message_of, _ends(_few_calls(messages)))), tuple(pieces))

    def missing(self, text: str) -> Iterator[str]:
        """Yield what of the conversation is not in the rendered `text`, each kind once."""
        # One after the other: to find millions at once keeps the interpreter locked.
        found = {marker[0] for marker in _MARKER.finditer(text.casefold())}
        yield from dict.fromkeys(piece.what for piece in self.pieces if piece.marker not in found)
        if "'type': 'text'" in text or '"type": "text"' in text:
            yield "text: it shows lists of content parts as they are"

    def is_garbled(self, text: str, template: str) -> bool:
        """Return whether `text` has Python's spelling of a value, or JSON inside a JSON string."""
        if "None" in text and "None" not in template:
            return True
        quoted = {marker[1] for marker in _QUOTED_MARKER.finditer(text)}
        return any(piece.marker in quoted for piece in self.pieces if piece.what == "tool calls")


def _ends(messages: Sequence[Message]) -> Sequence[Message]:
    """Return a long conversation without its middle, cut before user messages."""
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    head = max((index for index in users if index <= _WINDOW), default=0)
    tail = min((index for index in users if index >= len(messages) - _WINDOW), default=0)
    if 0 < head < tail:
        return [*messages[:head], *messages[tail:]]
    return _without_middle(messages) if len(messages) > 2 * _WINDOW else messages


def _without_middle(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the ends of a turn of hundreds of messages, cut where the same kinds of message follow each other."""
    last = len(messages) - _WINDOW
    tails: dict[tuple[_Kind, _Kind], int] = {}
    for tail in range(last, len(messages)):
        tails.setdefault((_kind(messages[tail - 1]), _kind(messages[tail])), tail)
    cuts = (
        (head, tails[pair])
        for head in range(_WINDOW, 0, -1)
        if (pair := (_kind(messages[head - 1]), _kind(messages[head]))) in tails
    )
    # Not between the results of a call, if there is another place.
    found = sorted(cuts, key=lambda cut: messages[cut[0]].role == "tool")
    return [*messages[: found[0][0]], *messages[found[0][1] :]] if found else _bridged(messages)


def _bridged(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the ends of a conversation and the fewest messages between them with which only such kinds of message
    follow each other as do in all of it."""
    following: dict[_Kind, dict[_Kind, Message]] = {}
    for before, message in pairwise(messages):
        following.setdefault(_kind(before), {}).setdefault(_kind(message), message)
    head, tail = messages[:_WINDOW], messages[-_WINDOW:]
    reached: dict[_Kind, list[Message]] = {_kind(head[-1]): []}  # with the messages that lead there
    waiting = deque(reached)
    while _kind(tail[0]) not in following.get(kind := waiting.popleft(), {}):
        for after, message in following.get(kind, {}).items():
            if after not in reached:
                reached[after] = [*reached[kind], message]
                waiting.append(after)
    return [*head, *reached[kind], *tail]


def _kind(message: Message) -> _Kind:
    return (message.role, bool(message.content), bool(message.tool_calls))


def _few_calls(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the conversation with at most two calls in a message, and without the results of the others."""
    if all(len(message.tool_calls) <= _CALLS for message in messages):
        return messages
    kept = {call.id for message in messages for call in message.tool_calls[:_CALLS]}
    dropped = {call.id for message in messages for call in message.tool_calls[_CALLS:]} - kept
    return [
        replace(message, tool_calls=message.tool_calls[:_CALLS]) if message.tool_calls else message
        for message in messages
        if message.tool_call_id not in dropped
    ]


def shortened(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return template options without most of what is long in them: what a client sends must not be what makes a probe
    exceed a limit."""
    return {name: _Excerpt().of(value) for name, value in options.items()}


class _Excerpt:
    """The beginning of one option."""

    def __init__(self) -> None:
        self._left = _LONGEST_OPTION

    def of(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        match value:
            case str():
                text = value[: max(0, self._left)]
                self._left -= len(text)
                return text
            case Mapping() if depth < _DEEPEST_OPTION:
                return {self.of(key): self.of(item, depth + 1) for key, item in value.items() if self._left > 0}
            case list() | tuple() if depth < _DEEPEST_OPTION:
                return [self.of(item, depth + 1) for item in value if self._left > 0]
            case Mapping() | list() | tuple():
                return None
            case _:
                return value


_ASKED = Message(role="user", content="mlxk asks")
REASONING = "mlxk707x"
REASONING_PROBES = (
    (
        _ASKED,
        Message(
            role="assistant",
            content="",
            reasoning=REASONING,
            tool_calls=(ToolCall(id="mlxk00000", name="mlxk_call", arguments="{}"),),
        ),
        Message(role="tool", content="mlxk result", tool_call_id="mlxk00000"),
    ),
    (_ASKED, Message(role="assistant", content="mlxk answers", reasoning=REASONING)),
)
"""Conversations in which templates that read reasoning show it; in earlier turns most leave it out on purpose."""
