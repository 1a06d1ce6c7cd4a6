"""Harmony, the format of gpt-oss: a stream of messages, each with a header that says who it is for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum, auto

from mlxk_core.api import Channel, Delta, ExtractorContext, ExtractorEvent, ToolCallDelta
from mlxk_core.api.formats import new_call_id
from mlxk_core.api.text import MarkerMatch, markers
from mlxk_reasoning.header import (
    CHANNEL,
    CONSTRAIN,
    MESSAGE,
    MOST_SPACE,
    START,
    Call,
    Header,
    Target,
    begins,
    goes_on,
)

END, RETURN, CALL = "<|end|>", "<|return|>", "<|call|>"
MARKERS = (START, CHANNEL, CONSTRAIN, MESSAGE, END, RETURN, CALL)

# Where the special tokens were lost on the way, only these words are left of the headers.
_STRIPPED = {
    "assistantanalysis": Channel.REASONING,
    "assistantcommentary": Channel.CONTENT,
    "assistantfinal": Channel.CONTENT,
}
_STRIPPED_OPENING = "analysis"
_INK = re.compile(r"\S")


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
        self._header = Header("")
        self._target: Target = Channel.CONTENT
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
        if self._state is _State.OUTSIDE or isinstance(self._target, Call):
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
        """Advance to the end of the prompt without output."""
        begin = max(suffix.rfind(START), 0 if START not in suffix and CHANNEL in suffix else -1)
        if begin >= 0:
            self.feed(suffix[begin:])
            self._held = ""
            self._header.end_of_prompt()
            self._last.clear()
            self._calls = 0
            if self._state is _State.BODY and isinstance(self._target, Call):
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
        here = ink.start() if ink else len(text)
        # Between messages white space means nothing; at the very beginning it may be the answer's.
        if self._untouched and here - at > MOST_SPACE:
            self._open(Channel.CONTENT)
            return [], at
        if ink is None:
            return [], None if self._untouched else len(text)
        if here > at and not self._untouched:
            return [], here
        hit = markers(*MARKERS).match(text, here, final=final)
        if hit is not None:
            return ([], None) if hit.marker is None else self._turn(hit)
        begun = begins(text, here, final=final)
        if begun is None:
            return [], None
        if begun:
            self._state, self._header = _State.HEADER, Header(START)
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
        if self._header.opened_by_prompt:
            # The prompt opened this header, and the model may not know what to do with it.
            header = goes_on(text[at:end], marked=hit is not None and hit.marker is not None, final=final)
            if header is None:
                return [], None
            if not header:
                self._state, self._untouched = _State.OUTSIDE, True
                return [], at
        room = self._header.room
        self._header.add(text[at : min(end, at + room)])
        if end - at > room:
            return self._end_header(), at + room
        if hit is None or hit.marker is None:
            return [], end if end > at else None
        if hit.marker in (CHANNEL, CONSTRAIN):
            if self._header.full:
                return self._end_header(), hit.end
            self._header.mark(hit.marker)
            return [], hit.end
        if hit.marker == MESSAGE:
            return self._open(self._header.target(self._functions)), hit.end
        events = self._leave_header(cut=False)
        return events, self._turn(hit)[1]

    def _end_header(self) -> list[ExtractorEvent]:
        """Begin the message of a header that is too long, with its text."""
        channel, said = self._header.message(cut=False)
        self._open(channel)
        return self._say(channel, said)

    def _in_body(self, text: str, at: int, final: bool) -> _Step:
        words = (*MARKERS, *_STRIPPED) if self._stripped else MARKERS
        hit = markers(*words).search(text, at, final=final)
        end = hit.start if hit else len(text)
        events: list[ExtractorEvent] = []
        if end > at:
            if isinstance(self._target, Channel):
                events = self._say(self._target, text[at:end])
            elif isinstance(self._target, Call):
                events = [ToolCallDelta(self._calls - 1, arguments=text[at:end])]
        if hit is None or hit.marker is None:
            return events, end if end > at else None
        return events, self._turn(hit)[1]

    def _turn(self, hit: MarkerMatch) -> _Step:
        """Handle a marker that is outside a header or breaks one off."""
        marker = hit.marker
        self._untouched = False
        if marker in _STRIPPED:
            self._open(_STRIPPED[marker])
            return [], hit.end
        self._stripped = False
        if marker in (START, CHANNEL):
            self._state, self._header = _State.HEADER, Header(marker)
        elif marker in (END, RETURN, CALL):
            self._state = _State.OUTSIDE
        elif marker == MESSAGE and self._state is not _State.BODY:
            self._open(Channel.CONTENT)
        return [], hit.end

    def _open(self, target: Target) -> list[ExtractorEvent]:
        """A message begins."""
        self._state, self._target, self._untouched, self._joint = _State.BODY, target, False, True
        if not isinstance(target, Call):
            return []
        self._calls += 1
        return [ToolCallDelta(self._calls - 1, id=new_call_id(), name=target.function)]

    def _say(self, channel: Channel, text: str) -> list[ExtractorEvent]:
        if not text:
            return []
        if self._joint and self._last.get(channel, "\n") != "\n":
            text = "\n" + text
        self._joint = False
        self._last[channel] = text[-1]
        return [Delta(channel, text)]

    def _leave_header(self, *, cut: bool) -> list[ExtractorEvent]:
        """Handle the end of a header that has no message."""
        self._state, self._joint = _State.OUTSIDE, True
        return self._say(*self._header.message(cut=cut))


def _stripped_opening(text: str, at: int, *, final: bool) -> bool | None:
    """Whether `text` begins like `analysisWe need…`: a channel name joined to the first word of a sentence."""
    follows = text[at + len(_STRIPPED_OPENING) : at + len(_STRIPPED_OPENING) + 1]
    if not follows:
        return False if final or not _STRIPPED_OPENING.startswith(text[at:]) else None
    return text.startswith(_STRIPPED_OPENING, at) and follows.isalpha() and not follows.islower()
