"""The header of a message of harmony: who the message is for, and what it says where the header has no end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from mlxk_core.api import Channel
from mlxk_reasoning.scanner import markers

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
ROLE = "assistant"

_NAMES = ("analysis", "commentary", "final")
_NAME = re.compile("|".join(_NAMES))
_RECIPIENT = re.compile(r"\bto=\s*([^\s<]+)")
_PUNCTUATION = ".,:;?!'\"`"  # noise beside a recipient: no function's name begins or ends so
_BUILT_IN = frozenset({"assistant", "browser", "container", "python"})
# What a header is made of; one of nothing else has no text that could get lost.
_WORDS = (ROLE, "user", "system", "developer", "tool", *_NAMES, "json", "code", "text")
_RECIPIENTS = ("to=", "functions.")
_HEADER_WORD = re.compile(rf"(?:{'|'.join(_WORDS)})+|(?:{'|'.join(map(re.escape, _RECIPIENTS))}).*")
# Where `<|message|>` is missing, a role, a channel and a type are still header, and the text behind them the message.
_HEAD = re.compile(rf"\s*(?:{ROLE}\b)?\s*(?:(?P<name>{'|'.join(_NAMES)})\b)?\s*")
_TYPE = re.compile(rf"{re.escape(CONSTRAIN)}(?:json|code|text)?")
_LONGEST = 400  # characters: what goes on for longer is an answer that forgot the end of its header
_INK = re.compile(r"\S")


@dataclass(frozen=True, slots=True)
class Call:
    """A message that calls one of the request's functions."""

    function: str


class Nobody(Enum):
    """A message neither for the user nor for the request's functions: a call of a tool built into the model, or what
    the model makes up as such a tool's answer."""

    BODY = auto()


Target = Channel | Call | Nobody


class Header:
    """A header as it comes, piece by piece and marker by marker."""

    def __init__(self, opener: str) -> None:
        self._text = opener
        self._length = 0  # without the markers
        self._ours = 0  # where the model's own text begins: before is the prompt's

    def add(self, text: str) -> None:
        self._text += text
        self._length += len(text)

    def mark(self, marker: str) -> None:
        self._text += marker

    def end_of_prompt(self) -> None:
        self._ours = len(self._text)

    @property
    def room(self) -> int:
        """How many characters more it may have."""
        return _LONGEST - self._length

    @property
    def opened_by_prompt(self) -> bool:
        """Whether it is the prompt's `<|start|>assistant` and nothing more yet."""
        return self._text == START + ROLE and self._ours == len(self._text)

    def target(self, functions: frozenset[str]) -> Target:
        """Who the message is for. The last channel that is named counts, and none is content."""
        role, *segments = self._text.removeprefix(START).split(CHANNEL)
        name, at = "", 0
        for index, segment in enumerate(segments or [role]):
            found = _NAME.findall(_RECIPIENT.sub("", segment.partition(CONSTRAIN)[0]))
            if found and found[-1] != name:
                name, at = found[-1], index
        # A recipient that stands with another channel went with that one; the role's own holds for all.
        recipients = _RECIPIENT.findall(" ".join([role, *segments[at:]]))
        recipient = recipients[-1].strip(_PUNCTUATION) if recipients else ""
        if recipient in functions:
            return Call(recipient)
        if recipient.split(".")[0] in _BUILT_IN or role.lstrip().startswith("functions."):
            return Nobody.BODY
        function = recipient.removeprefix("functions.")
        if function and function != recipient:
            return Call(function)
        return _channel(name)

    def message(self, *, cut: bool) -> tuple[Channel, str]:
        """What a header without `<|message|>` says behind its own words, and on which channel. `cut`: the last word
        may be half of one."""
        words = _unmarked(self._text[self._ours :]).split()
        if cut and words and any(known.startswith(words[-1]) for known in (*_WORDS, *_RECIPIENTS)):
            del words[-1]
        if all(map(_HEADER_WORD.fullmatch, words)):
            return Channel.CONTENT, ""
        text = _unmarked(_TYPE.sub(" ", self._text[self._ours :]))
        head = _HEAD.match(text)
        if head is None or _RECIPIENT.search(text):
            return Channel.CONTENT, text  # a call that cannot be read stays visible
        named = _NAME.findall(self._text[: self._ours])
        return _channel(head["name"] or (named[-1] if named else "")), text[head.end() :]


def goes_on(text: str, *, marked: bool, final: bool) -> bool | None:
    """Whether `text`, behind the prompt's `<|start|>assistant`, goes on with the header; None if more must come.
    `marked` says that a marker follows it."""
    word = text.strip()
    if word.startswith("to="):
        return True
    if marked or final:
        return not word or (marked and word in (ROLE, *_NAMES))
    return None if any(known.startswith(word) for known in ("to=", ROLE, *_NAMES)) else False


def begins(text: str, at: int, *, final: bool) -> bool | None:
    """Whether `text` goes on at `at` with a header that lost its `<|start|>`; None if more must come."""
    role = markers(ROLE).match(text, at, final=final)
    if role is None:
        return False
    ink = _INK.search(text, role.end)
    if role.marker is None or ink is None:
        return False if final else None
    follows = markers("to=", CHANNEL, MESSAGE).match(text, ink.start(), final=final)
    return (None if follows.marker is None else True) if follows else False


def _channel(name: str) -> Channel:
    return Channel.REASONING if name == "analysis" else Channel.CONTENT


def _unmarked(header: str) -> str:
    return header.replace(START, " ").replace(CHANNEL, " ").replace(CONSTRAIN, " ").lstrip(" ")
