"""Conversations rewritten for chat templates that are strict about roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mlxk_core._generation.generic_tools import calls_as_text
from mlxk_core._generation.request import Message

_Step = Callable[[Sequence[Message]], list[Message]]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A conversation in another arrangement. `changes` says what was done, in order."""

    messages: list[Message]
    changes: tuple[str, ...]
    folds_system: bool = False
    """The first system message became part of a user message."""


def rewrites(messages: Sequence[Message]) -> Iterator[Rewritten]:
    """Yield arrangements of `messages` to try in turn, each without any text left out.

    Neighbours of one role are merged, with a blank line between their texts, and a system message after the first
    becomes part of the next user message. Then an empty user message is put before an assistant message that comes
    first, the first system message is made part of the first user message, and messages without any text are dropped.
    At last the same is tried with tool calls and their results written as text.
    """
    yield from _arrangements(messages, ())
    written = calls_as_text(messages)
    if written != list(messages):
        change = ("wrote tool calls and results as text",)
        yield Rewritten(written, change)
        yield from _arrangements(written, change)


def _arrangements(messages: Sequence[Message], changes: tuple[str, ...]) -> Iterator[Rewritten]:
    current = list(messages)
    merged = _apply(current, changes, "merged neighbours of one role", _merge)
    late = _apply(*merged, "made late system messages user messages", _fold_late_systems)
    folded = _apply(*late, "made the system message a user message", _fold_systems)
    dropped = _apply(*folded, "dropped empty messages", _drop_empty)
    seen = [current]
    for (candidate, done), is_folded in ((merged, False), (late, False), (folded, True), (dropped, True)):
        opened = _apply(candidate, done, "put an empty user message first", _open_with_user)
        for arranged, what in ((candidate, done), opened):
            if arranged not in seen:
                seen.append(arranged)
                yield Rewritten(arranged, what, is_folded and messages[0].role == "system")


def _apply(
    messages: list[Message], changes: tuple[str, ...], change: str, step: _Step
) -> tuple[list[Message], tuple[str, ...]]:
    changed = step(messages)
    return (messages, changes) if changed == messages else (changed, (*changes, change))


def _merge(messages: Sequence[Message]) -> list[Message]:
    groups: list[list[Message]] = []
    for message in messages:
        if groups and _mergeable(groups[-1][-1], message):
            groups[-1].append(message)
        else:
            groups.append([message])
    return [group[0] if len(group) == 1 else _join(group) for group in groups]


def _mergeable(first: Message, second: Message) -> bool:
    """Return whether two messages can be one.

    Not a tool result, which belongs to one call, and not text after a call, which was written after its result.
    """
    if first.role != second.role or first.role == "tool" or first.tool_calls:
        return False
    return first.role != "user" or first.name == second.name


def _join(group: Sequence[Message]) -> Message:
    reasoning = "\n\n".join(message.reasoning for message in group if message.reasoning)
    return replace(
        group[-1],
        content="\n\n".join(message.content for message in group if message.content),
        reasoning=reasoning or group[-1].reasoning,
    )


def _fold_late_systems(messages: Sequence[Message]) -> list[Message]:
    later = [replace(each, role="user") if each.role == "system" else each for each in messages[1:]]
    return _merge([*messages[:1], *later])


def _fold_systems(messages: Sequence[Message]) -> list[Message]:
    return _merge([replace(each, role="user") if each.role == "system" else each for each in messages])


def _drop_empty(messages: Sequence[Message]) -> list[Message]:
    kept = [each for each in messages if each.content.strip() or each.tool_calls or each.role == "tool"]
    return _merge(kept or messages)


def _open_with_user(messages: Sequence[Message]) -> list[Message]:
    head = 1 if messages[0].role == "system" else 0
    if len(messages) > head and messages[head].role == "assistant":
        return [*messages[:head], Message(role="user", content=""), *messages[head:]]
    return list(messages)
