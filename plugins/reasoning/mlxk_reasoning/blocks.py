"""The stream parser of block formats: it reads one row of the table in `formats.py`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mlxk_core.api import Channel, Delta, ExtractorEvent
from mlxk_reasoning.formats import BlockFormat
from mlxk_reasoning.scanner import markers

_INK = re.compile(r"\S")
_QUOTES = frozenset("`'\"‘“«")
# What templates write between turns. A prompt's marker with one of these behind it is of an earlier turn, the user's
# question what <think> means, say.
_TURN = re.compile(
    r"<\|[^<>|\s]+\|?>|<｜[^<>｜\s]+｜>|\[\|[^\[\]|\s]+\|\]|\[/?INST\]|</?s>|<(?:start|end)_of_turn>"
    r"|<seed:[be]os>|\]~b\]"
)


class State(NamedTuple):
    """Whether a response is inside a block, and whether it is inside the frame of its answer."""

    inside: bool
    framed: bool


class BlockExtractor:
    """Splits one response. White space around a marker is dropped where a part begins or ends, and kept once where
    both sides of a block are the same part.

    Two questions decide which markers may come next: are we inside a block, and has this stretch begun, that is, did
    anything but white space follow the last marker?
    """

    def __init__(self, format: BlockFormat, prompt_suffix: str = "", *, calls_tools: bool = False) -> None:
        self._format = format
        self._ends = (*format.ends, *format.calls) if calls_tools else format.ends
        name = format.label.strip()
        self._labels = (format.label, *(name + closer for closer in format.closers)) if name else ()
        self._content = _Part(Channel.CONTENT)
        self._reasoning = _Part(Channel.REASONING)
        self._held = ""
        self._inside = False
        self._begun = False
        self._untouched = True  # no marker yet, and no text: leading white space may be the answer's own
        self._framed = False
        self._label = False  # the block's name may come
        self._resume(prompt_suffix)

    @property
    def channel(self) -> Channel | None:
        if self._held:
            return None
        return Channel.REASONING if self._inside else Channel.CONTENT

    @property
    def state(self) -> State:
        """Where the response is; of a new extractor, where the prompt left it."""
        return State(self._inside, self._framed)

    def feed(self, text: str, /) -> list[ExtractorEvent]:
        return list(self._advance(text, final=False))

    def close(self) -> list[ExtractorEvent]:
        if self._is_cut_marker():
            self._held = ""
        events = list(self._advance("", final=True))
        part = self._part
        if part.blank and (self._begun or self._untouched):
            events.append(Delta(part.channel, part.take_blank()))
        return events

    @property
    def _part(self) -> _Part:
        return self._reasoning if self._inside else self._content

    def _resume(self, suffix: str) -> None:
        """Goes to where the prompt left off: its last marker and what follows is read, and nothing of it is output."""
        format = self._format
        known = (*format.openers, *format.closers, *format.frame, *format.frame_end)
        at, last = max((suffix.rfind(marker), marker) for marker in known)
        if at >= 0 and not _TURN.search(suffix, at + len(last)):
            self.feed(suffix[at:])
            self._held = ""
            self._content.blank = self._reasoning.blank = ""
        elif format.assume_open:
            self._open()

    def _advance(self, text: str, *, final: bool) -> Iterable[ExtractorEvent]:
        text = self._held + text
        at = 0
        while at < len(text):
            if not self._begun:
                ink = _INK.search(text, at)
                here = ink.start() if ink else len(text)
                self._part.lead(text[at:here], keep=self._untouched)
                at = here
                if at == len(text):
                    break
                hit = markers(*self._possible()).match(text, at, final=final)
                if hit is None:
                    self._begun, self._untouched = True, False
                    continue
            else:
                hit = markers(*self._possible()).search(text, at, final=final)
            end = hit.start if hit else len(text)
            if end > at:
                # Held white space is only for a marker to swallow: an answer without a frame needs none.
                yield from self._part.write(text[at:end], hold=self._inside or self._framed)
            at = end
            if hit and hit.marker is None:
                break
            if hit and hit.marker is not None:
                if self._is_quoted(hit.marker):
                    yield from self._part.write(hit.marker, hold=self._framed)
                    at = hit.end
                else:
                    at = hit.end if self._turn(hit.marker) else hit.start
        self._held = text[at:]

    def _possible(self) -> tuple[str, ...]:
        """The markers that count here."""
        format = self._format
        if self._inside:
            words = (*format.closers, *self._ends)
            if self._begun:
                return words
            # Right behind an opener another one, the prompt's and the model's, opens nothing new.
            return (*words, *format.openers, *(self._labels if self._label else ()))
        openers = format.openers if self._untouched or not format.sentences else ()
        words = (*openers, *format.noise, *(format.frame_end if self._framed else ()))
        return words if self._begun else (*words, *format.closers, *(() if self._framed else format.frame))

    def _is_quoted(self, marker: str) -> bool:
        """Whether the answer speaks of an opener (`<think>` in quotes) and does not open a block; or the reasoning of
        a call and does not make it."""
        spoken_of = self._format.calls if self._inside else self._format.openers
        return self._begun and marker in spoken_of and self._part.last in _QUOTES

    def _is_cut_marker(self) -> bool:
        """Whether the response was cut off in a marker that shows by its beginning: a special token is no word, nor is
        the name right behind an opener. Half a marker of ordinary text stays text."""
        if self._inside and self._label and self._held and self._held.strip() == self._format.label.strip():
            return True
        begun = self._held.startswith(self._format.tokens)
        return begun and markers(*self._possible()).match(self._held, 0, final=True) is None

    def _turn(self, marker: str) -> bool:
        """Goes on behind `marker`; False if the marker is to be read again where it leads to."""
        format = self._format
        if self._inside:
            if marker.endswith(format.closers):
                self._answer(framed=not format.frame and bool(format.frame_end))
                return True
            if marker in self._ends:
                self._answer(framed=False)
                return False
            self._label = marker in format.openers
            return True
        if marker in format.openers:
            self._open()
        elif self._framed and marker in format.frame_end:
            self._answer(framed=False)
        elif not self._begun and marker in format.frame:
            self._answer(framed=True)
        elif not self._begun and marker in format.closers:
            self._answer(framed=not format.frame and bool(format.frame_end))
        return True

    def _open(self) -> None:
        self._content.end()
        self._reasoning.begin()
        self._inside, self._begun, self._untouched, self._framed = True, False, False, False
        self._label = True

    def _answer(self, *, framed: bool) -> None:
        self._part.end()
        self._content.begin()
        self._inside, self._begun, self._untouched, self._framed = False, False, False, framed


class _Part:
    """The text of one channel, and the white space that waits for what follows it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.blank = ""
        self._started = False
        self.last = ""
        self._keeps_lead = False

    def begin(self) -> None:
        """A stretch of this part starts: its leading white space counts only between two inked stretches."""
        self._keeps_lead = self._started and not self.blank and not self.last.isspace()

    def end(self) -> None:
        """A marker follows: what white space stands before it counts only if something was said."""
        if not self._started:
            self.blank = ""

    def lead(self, blank: str, *, keep: bool) -> None:
        if keep or self._keeps_lead:
            self.blank += blank

    def write(self, text: str, *, hold: bool) -> Iterable[Delta]:
        inked = text.rstrip() if hold else text
        if not inked:
            self.blank += text
            self.last = text[-1]
            return
        yield Delta(self.channel, self.take_blank() + inked)
        self.blank = text[len(inked) :]
        self._started = True
        self.last = self.blank[-1:] or inked[-1]

    def take_blank(self) -> str:
        blank, self.blank = self.blank, ""
        return blank
