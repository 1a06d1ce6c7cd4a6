"""Headers of harmony messages: who a message is for, and its text where the header is not terminated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from mlxk_core.api import Channel
from mlxk_core.api.text import markers

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
ROLE = "assistant"

_NAMES = ("analysis", "commentary", "final")
_NAME = re.compile("|".join(_NAMES))
_RECIPIENT = re.compile(r"\bto=\s*([^\s<]+)")
_PUNCTUATION = ".,:;?!'\"`"  # noise around a recipient: no function name begins or ends with these
_BUILT_IN = frozenset({"assistant", "browser", "container", "python"})
# The words of a header. One that has no other words has no text that could be lost.
_WORDS = (ROLE, "user", "system", "developer", "tool", *_NAMES, "json", "code", "text")
_RECIPIENTS = ("to=", "functions.")
_HEADER_WORD = re.compile(rf"(?:{'|'.join(_WORDS)})+|(?:{'|'.join(map(re.escape, _RECIPIENTS))}).*")
# Where `<|message|>` is missing, a role, a channel and a type still belong to the header; the text after them is the
# message.
_HEAD = re.compile(rf"\s*(?:{ROLE}\b)?\s*(?:(?P<name>{'|'.join(_NAMES)})\b)?\s*")
_TYPE = re.compile(rf"{re.escape(CONSTRAIN)}(?:json|code|text)?")
_LONGEST = 400  # characters; anything longer is an answer whose header was never terminated
_MOST_MARKERS = 16
MOST_SPACE = 4096
"""Characters of white space after which no header is expected. All of it is searched again for every token."""
_VISIBLE = re.compile(r"\S")
_WORD = re.compile(r"[^\W\d_]{2}")  # two letters in a row


@dataclass(frozen=True, slots=True)
class Call:
    """A message that calls one of the request's functions."""

    function: str


class Discard(Enum):
    """A message for neither the user nor the request's functions: a call of a tool that is built into the model, or
    what the model invents as the result of such a tool."""

    MESSAGE = auto()


Target = Channel | Call | Discard


class Header:
    """A header that is read piece by piece and marker by marker."""

    def __init__(self, opener: str) -> None:
        self._text = opener
        self._length = 0  # characters, markers excluded
        self._markers = 0
        self._ours = 0  # where the model's own text begins, after that of the prompt

    def add(self, text: str) -> None:
        self._text += text
        self._length += len(text)

    def mark(self, marker: str) -> None:
        self._text += marker
        self._markers += 1

    def end_of_prompt(self) -> None:
        self._ours = len(self._text)

    @property
    def room(self) -> int:
        """The number of characters it may still have."""
        return _LONGEST - self._length

    @property
    def full(self) -> bool:
        """Whether it has as many markers as it may have."""
        return self._markers >= _MOST_MARKERS

    @property
    def opened_by_prompt(self) -> bool:
        """Whether it is only the prompt's `<|start|>assistant` so far."""
        return self._text == START + ROLE and self._ours == len(self._text)

    def target(self, functions: frozenset[str]) -> Target:
        """Return who the message is for. The last named channel counts; without one it is content."""
        role, *segments = self._text.removeprefix(START).split(CHANNEL)
        name, at = "", 0
        for index, segment in enumerate(segments or [role]):
            found = _NAME.findall(_RECIPIENT.sub("", segment.partition(CONSTRAIN)[0]))
            if found and found[-1] != name:
                name, at = found[-1], index
        # A recipient named with an earlier channel belongs to that one; one named with the role holds for all.
        recipients = _RECIPIENT.findall(" ".join([role, *segments[at:]]))
        recipient = recipients[-1].strip(_PUNCTUATION) if recipients else ""
        if recipient in functions:
            return Call(recipient)
        if recipient.split(".")[0] in _BUILT_IN or role.lstrip().startswith("functions."):
            return Discard.MESSAGE
        function = recipient.removeprefix("functions.")
        if function and function != recipient:
            return Call(function)
        return _channel(name)

    def message(self, *, cut: bool) -> tuple[Channel, str]:
        """Return the text of a header without `<|message|>` after its own words, and its channel.

        With `cut` the response ended in the header, so that its last word may be incomplete. What follows the name of
        a channel other than `final` and has no word in it (`commentary 2?`) is noise of a malformed header.
        """
        words = _without_markers(self._text[self._ours :]).split()
        if cut and words and any(known.startswith(words[-1]) for known in (*_WORDS, *_RECIPIENTS)):
            del words[-1]
        if all(map(_HEADER_WORD.fullmatch, words)):
            return Channel.CONTENT, ""
        text = _without_markers(_TYPE.sub(" ", self._text[self._ours :]))
        head = _HEAD.match(text)
        if head is None or _RECIPIENT.search(text):
            return Channel.CONTENT, text  # a call that cannot be parsed stays visible
        named = _NAME.findall(self._text[: self._ours])
        name = head["name"] or (named[-1] if named else "")
        rest = text[head.end() :]
        if name in ("analysis", "commentary") and not _WORD.search(rest):
            return Channel.CONTENT, ""
        return _channel(name), rest


def goes_on(text: str, *, marked: bool, final: bool) -> bool | None:
    """Return whether `text` continues the header that the prompt opened; None if more text is needed.

    `marked` says that a marker follows it.
    """
    word = text[:_LONGEST].strip()
    if word.startswith("to="):
        return True
    if len(text) > _LONGEST:
        return False
    if marked or final:
        return not word or (marked and word in (ROLE, *_NAMES))
    return None if any(known.startswith(word) for known in ("to=", ROLE, *_NAMES)) else False


def begins(text: str, at: int, *, final: bool) -> bool | None:
    """Return whether a header without its `<|start|>` begins at `at`; None if more text is needed."""
    role = markers(ROLE).match(text, at, final=final)
    if role is None:
        return False
    ink = _VISIBLE.search(text, role.end)
    if (ink.start() if ink else len(text)) - role.end > MOST_SPACE:
        return False
    if role.marker is None or ink is None:
        return False if final else None
    follows = markers("to=", CHANNEL, MESSAGE).match(text, ink.start(), final=final)
    return (None if follows.marker is None else True) if follows else False


def _channel(name: str) -> Channel:
    return Channel.REASONING if name == "analysis" else Channel.CONTENT


def _without_markers(header: str) -> str:
    return header.replace(START, " ").replace(CHANNEL, " ").replace(CONSTRAIN, " ").lstrip(" ")
