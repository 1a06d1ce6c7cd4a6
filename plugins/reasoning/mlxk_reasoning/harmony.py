"""Harmony, the format of gpt-oss: a stream of messages, each with a header that says who it is for."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from mlxk_core.api import Channel, Delta, ExtractorContext, ExtractorEvent, ToolCallDelta
from mlxk_reasoning.scanner import Hit, markers

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
END, RETURN, CALL = "<|end|>", "<|return|>", "<|call|>"
MARKERS = (START, CHANNEL, CONSTRAIN, MESSAGE, END, RETURN, CALL)

_ROLE = "assistant"
_NAMES = ("analysis", "commentary", "final")
_NAME = re.compile("|".join(_NAMES))
_RECIPIENT = re.compile(r"\bto=\s*([^\s<]+)")
_BUILT_IN = frozenset({"assistant", "browser", "container", "python"})
# What a header is made of; one of nothing else has no text that could get lost.
_WORDS = (_ROLE, "user", "system", "developer", "tool", *_NAMES, "json", "code", "text")
_RECIPIENTS = ("to=", "functions.")
_HEADER_WORD = re.compile(rf"(?:{'|'.join(_WORDS)})+|(?:{'|'.join(map(re.escape, _RECIPIENTS))}).*")
_LONGEST_HEADER = 400  # characters: what goes on for longer is an answer that forgot the end of its header
# Where `<|message|>` is missing, a role and a channel are still header, and the text behind them the message.
_HEAD = re.compile(rf"\s*(?:{_ROLE}\b)?\s*(?:(?P<name>{'|'.join(_NAMES)})\b)?\s*")
_TYPE = re.compile(rf"{re.escape(CONSTRAIN)}(?:json|code|text)?")

# Where the special tokens were lost on the way, only these words are left of the headers.
_STRIPPED = {
    "assistantanalysis": Channel.REASONING,
    "assistantcommentary": Channel.CONTENT,
    "assistantfinal": Channel.CONTENT,
}
_STRIPPED_OPENING = "analysis"
_INK = re.compile(r"\S")


@dataclass(frozen=True, slots=True)
class _Call:
    """A message that calls one of the request's functions."""

    function: str


class _Nobody(Enum):
    """A message neither for the user nor for the request's functions: a call of a tool built into the model, or what
    the model makes up as such a tool's answer."""

    BODY = auto()


_Target = Channel | _Call | _Nobody


class _State(Enum):
    OUTSIDE = auto()
    HEADER = auto()
    BODY = auto()


_Step = tuple[list[ExtractorEvent], int | None]
"""What a step found, and where to go on: None to wait for more text."""


class HarmonyExtractor:
    """Splits one response of gpt-oss.

    About one turn in 25 at temperature 1 has a malformed header. So the last channel a header names counts, a header
    that names none is content, and so is text outside of messages. Messages of one channel are joined by a new line.
    """

    def __init__(self, context: ExtractorContext) -> None:
        self._functions = frozenset(tool.name for tool in context.tools)
        self._state = _State.OUTSIDE
        self._held = ""
        self._untouched = True  # nothing but white space yet, which may be the answer's own
        self._header = ""  # with its markers
        self._header_text = 0  # its length without them
        self._ours = 0  # where in the header the model's own text begins: before is the prompt's
        self._target: _Target = Channel.CONTENT
        self._stripped = False
        self._calls = 0
        self._last: dict[Channel, str] = {}  # the last character of each channel
        self._joint = False
        self._pending: list[ExtractorEvent] = []
        self._resume(context.prompt_suffix)

    @property
    def channel(self) -> Channel | None:
        if self._held or self._state is _State.HEADER:
            return None
        if self._state is _State.OUTSIDE or isinstance(self._target, _Call):
            return Channel.CONTENT  # a call is part of the answer: its tokens are no reasoning
        return self._target if isinstance(self._target, Channel) else None

    def feed(self, text: str, /) -> list[ExtractorEvent]:
        return list(self._advance(text, final=False))

    def close(self) -> list[ExtractorEvent]:
        events = list(self._advance("", final=True))
        if self._state is _State.HEADER:
            events += self._leave_header(cut=True)
        elif self._held:
            events += self._say(Channel.CONTENT, self._held)
        return events

    def _resume(self, suffix: str) -> None:
        """Goes to where the prompt left off: nothing of it is output."""
        begin = max(suffix.rfind(START), 0 if START not in suffix and CHANNEL in suffix else -1)
        if begin >= 0:
            self.feed(suffix[begin:])
            self._held = ""
            self._ours = len(self._header)
            self._last.clear()
            self._calls = 0
            if self._state is _State.BODY and isinstance(self._target, _Call):
                self._pending = self._open(self._target)  # the prompt named the function, the model its arguments

    def _advance(self, text: str, *, final: bool) -> Iterable[ExtractorEvent]:
        yield from self._pending
        self._pending = []
        text = self._held + text
        at = 0
        steps = {_State.OUTSIDE: self._outside, _State.HEADER: self._in_header, _State.BODY: self._in_body}
        while at < len(text):
            events, to = steps[self._state](text, at, final)
            yield from events
            if to is None:
                break
            at = to
        self._held = text[at:]

    def _outside(self, text: str, at: int, final: bool) -> _Step:
        ink = _INK.search(text, at)
        if ink is None:
            # Between messages white space means nothing; at the very beginning it may be the answer's.
            return [], None if self._untouched else len(text)
        here = ink.start()
        if here > at and not self._untouched:
            return [], here
        hit = markers(*MARKERS).match(text, here, final=final)
        if hit is not None:
            return ([], None) if hit.marker is None else self._turn(hit)
        role = _begins_role(text, here, final=final)
        if role is None:
            return [], None
        if role:
            self._state, self._header, self._header_text, self._ours = _State.HEADER, START, 0, 0
            return [], here
        if self._untouched and here == at:
            stripped = _stripped_opening(text, at, final=final)
            if stripped is None:
                return [], None
            if stripped:
                self._stripped = True
                self._open(Channel.REASONING)
                return [], at + len(_STRIPPED_OPENING)
        self._open(Channel.CONTENT)
        return [], at

    def _in_header(self, text: str, at: int, final: bool) -> _Step:
        hit = markers(*MARKERS).search(text, at, final=final)
        end = hit.start if hit else len(text)
        if self._header == START + _ROLE and self._ours == len(self._header):
            # The prompt opened this header, and the model may not know what to do with it.
            begun = _begins_header(text[at:end], marked=hit is not None and hit.marker is not None, final=final)
            if begun is None:
                return [], None
            if not begun:
                self._state, self._untouched = _State.OUTSIDE, True
                return [], at
        room = _LONGEST_HEADER - self._header_text
        if end - at > room:
            self._header += text[at : at + room]
            channel, said = self._message_in_header()
            self._open(channel)
            return self._say(channel, said) if said else [], at + room
        self._header += text[at:end]
        self._header_text += end - at
        if hit is None or hit.marker is None:
            return [], end if end > at else None
        if hit.marker in (CHANNEL, CONSTRAIN):
            self._header += hit.marker
            return [], hit.end
        if hit.marker == MESSAGE:
            return self._open(self._route()), hit.end
        events = self._leave_header(cut=False)
        return events, self._turn(hit)[1]

    def _in_body(self, text: str, at: int, final: bool) -> _Step:
        words = (*MARKERS, *_STRIPPED) if self._stripped else MARKERS
        hit = markers(*words).search(text, at, final=final)
        end = hit.start if hit else len(text)
        events: list[ExtractorEvent] = []
        if end > at:
            if isinstance(self._target, Channel):
                events = self._say(self._target, text[at:end])
            elif isinstance(self._target, _Call):
                events = [ToolCallDelta(self._calls - 1, arguments=text[at:end])]
        if hit is None or hit.marker is None:
            return events, end if end > at else None
        return events, self._turn(hit)[1]

    def _turn(self, hit: Hit) -> _Step:
        """Where a marker leads that stands outside of a header or breaks one off."""
        marker = hit.marker
        self._untouched = False
        if marker in _STRIPPED:
            self._open(_STRIPPED[marker])
            return [], hit.end
        self._stripped = False
        if marker in (START, CHANNEL):
            self._state, self._header, self._header_text, self._ours = _State.HEADER, marker, 0, 0
        elif marker in (END, RETURN, CALL):
            self._state = _State.OUTSIDE
        elif marker == MESSAGE and self._state is not _State.BODY:
            self._open(Channel.CONTENT)
        return [], hit.end

    def _open(self, target: _Target) -> list[ExtractorEvent]:
        """A message begins."""
        self._state, self._target, self._untouched, self._joint = _State.BODY, target, False, True
        if not isinstance(target, _Call):
            return []
        self._calls += 1
        return [ToolCallDelta(self._calls - 1, id=f"call_{uuid.uuid4().hex[:24]}", name=target.function)]

    def _say(self, channel: Channel, text: str) -> list[ExtractorEvent]:
        if self._joint and self._last.get(channel, "\n") != "\n":
            text = "\n" + text
        self._joint = False
        self._last[channel] = text[-1]
        return [Delta(channel, text)]

    def _route(self) -> _Target:
        """Who the message is for, by its header."""
        role, *segments = self._header.removeprefix(START).split(CHANNEL)
        name, at = "", 0
        for index, segment in enumerate(segments or [role]):
            found = _NAME.findall(_RECIPIENT.sub("", segment.partition(CONSTRAIN)[0]))
            if found and found[-1] != name:
                name, at = found[-1], index
        # A recipient that stands with another channel went with that one; the role's own holds for all.
        recipients = _RECIPIENT.findall(" ".join([role, *segments[at:]]))
        recipient = recipients[-1] if recipients else ""
        if recipient in self._functions:
            return _Call(recipient)
        if recipient.split(".")[0] in _BUILT_IN or role.lstrip().startswith("functions."):
            return _Nobody.BODY
        function = recipient.removeprefix("functions.")
        if function and function != recipient:
            return _Call(function)
        return Channel.REASONING if name == "analysis" else Channel.CONTENT

    def _leave_header(self, *, cut: bool) -> list[ExtractorEvent]:
        """A header ends without a message: what is no header word in it was meant to be read. `cut`: the last word
        may be half of one."""
        self._state = _State.OUTSIDE
        words = _unmarked(self._header[self._ours :]).split()
        if cut and words and any(known.startswith(words[-1]) for known in (*_WORDS, *_RECIPIENTS)):
            del words[-1]
        if all(map(_HEADER_WORD.fullmatch, words)):
            return []
        self._joint = True
        channel, text = self._message_in_header()
        return self._say(channel, text) if text else []

    def _message_in_header(self) -> tuple[Channel, str]:
        """What a header that no `<|message|>` ends says behind its own words, and on which channel."""
        text = _unmarked(_TYPE.sub(" ", self._header[self._ours :]))
        head = _HEAD.match(text)
        if head is None or _RECIPIENT.search(text):
            return Channel.CONTENT, text  # a call that cannot be read stays visible
        named = head["name"] or "".join(_NAME.findall(self._header[: self._ours])[-1:])
        return Channel.REASONING if named == "analysis" else Channel.CONTENT, text[head.end() :]


def _unmarked(header: str) -> str:
    return header.replace(START, " ").replace(CHANNEL, " ").replace(CONSTRAIN, " ").lstrip(" ")


def _begins_header(text: str, *, marked: bool, final: bool) -> bool | None:
    """Whether `text`, behind the prompt's `<|start|>assistant`, goes on with the header; None if more must come.
    `marked` says that a marker follows it."""
    word = text.strip()
    if word.startswith("to="):
        return True
    if marked or final:
        return not word or (marked and word in (_ROLE, *_NAMES))
    return None if any(known.startswith(word) for known in ("to=", _ROLE, *_NAMES)) else False


def _begins_role(text: str, at: int, *, final: bool) -> bool | None:
    """Whether `text` begins a header that lost its `<|start|>`; None if more must come."""
    role = markers(_ROLE).match(text, at, final=final)
    if role is None:
        return False
    ink = _INK.search(text, role.end)
    if role.marker is None or ink is None:
        return False if final else None
    follows = markers("to=", CHANNEL, MESSAGE).match(text, ink.start(), final=final)
    return (None if follows.marker is None else True) if follows else False


def _stripped_opening(text: str, at: int, *, final: bool) -> bool | None:
    """Whether `text` begins like `analysisWe need…`: a channel's name that runs into the first word of a sentence."""
    follows = text[at + len(_STRIPPED_OPENING) : at + len(_STRIPPED_OPENING) + 1]
    if not follows:
        return False if final or not _STRIPPED_OPENING.startswith(text[at:]) else None
    return text.startswith(_STRIPPED_OPENING, at) and follows.isalpha() and not follows.islower()
