"""The stream parser of block formats: it reads one row of the table in `formats.py`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mlxk_core.api import Channel, Delta, ExtractorEvent
from mlxk_core.api.text import EdgeTrimmer, markers
from mlxk_reasoning.formats import BlockFormat

_VISIBLE = re.compile(r"\S")
_QUOTES = frozenset("`'\"‘“«")
# What templates write between turns. A marker in the prompt that is followed by one of these belongs to an earlier
# turn: the user's question what <think> means, for example.
_TURN = re.compile(
    r"<\|[^<>|\s]+\|?>|<｜[^<>｜\s]+｜>|\[\|[^\[\]|\s]+\|\]|\[/?INST\]|</?s>|<(?:start|end)_of_turn>"
    r"|<seed:[be]os>|\]~b\]"
)


class State(NamedTuple):
    """Whether a response is inside a block, and whether it is inside the frame of its answer."""

    inside: bool
    framed: bool


class BlockExtractor:
    """Splits one response into reasoning and content, as one row of the table of formats says.

    Two things decide which markers may come next: whether the text is inside a block, and whether this stretch has
    begun, that is, whether anything but white space followed the last marker.
    """

    def __init__(self, format: BlockFormat, prompt_suffix: str = "", *, calls_tools: bool = False) -> None:
        self._format = format
        self._ends = (*format.ends, *format.calls) if calls_tools else format.ends
        name = format.label.strip()
        self._labels = (format.label, *(name + closer for closer in format.closers)) if name else ()
        self._trimmers = {channel: EdgeTrimmer() for channel in Channel}
        self._held = ""
        self._inside = False
        self._begun = False
        self._untouched = True  # no marker yet, and no text: leading white space may be the answer's own
        self._framed = False
        self._label = False  # the name of the block may come
        self._resume(prompt_suffix)

    @property
    def channel(self) -> Channel | None:
        if self._held:
            return None
        return self._now

    @property
    def state(self) -> State:
        """State of the response; of a new extractor, the state that the prompt ends in."""
        return State(self._inside, self._framed)

    def feed(self, text: str, /) -> list[ExtractorEvent]:
        return list(self._advance(text, final=False))

    def close(self) -> list[ExtractorEvent]:
        if self._is_cut_marker():
            self._held = ""
        events = list(self._advance("", final=True))
        if rest := self._trimmer.close():
            events.append(Delta(self._now, rest))
        return events

    @property
    def _now(self) -> Channel:
        return Channel.REASONING if self._inside else Channel.CONTENT

    @property
    def _trimmer(self) -> EdgeTrimmer:
        return self._trimmers[self._now]

    def _resume(self, suffix: str) -> None:
        """Read the last marker of the prompt and what follows it, without output."""
        format = self._format
        known = (*format.openers, *format.closers, *format.frame, *format.frame_end)
        # Of markers that end at one place the longest: `to=self<|message|>` ends with another marker.
        found = [(suffix.rfind(marker) + len(marker), len(marker)) for marker in known if marker in suffix]
        end, length = max(found, default=(-1, 0))
        at = end - length
        if end >= 0 and not _TURN.search(suffix, end):
            self.feed(suffix[at:])
            self._held = ""
            for trimmer in self._trimmers.values():
                trimmer.close()
        elif format.assume_open:
            self._open()

    def _advance(self, text: str, *, final: bool) -> Iterable[ExtractorEvent]:
        text = self._held + text
        at = 0
        while at < len(text):
            if not self._begun and (at := self._skip_white_space(text, at)) == len(text):
                break
            search = markers(*self._possible())
            found = (search.search if self._begun else search.match)(text, at, final=final)
            if found is None and not self._begun:
                self._begun, self._untouched = True, False
                continue
            end = found.start if found else len(text)
            if end > at:
                yield from self._write(text[at:end])
            at = end
            if found is None or found.marker is None:
                break
            if self._is_text(found.marker):
                yield from self._write(found.marker)
                at = found.end
            elif self._turn(found.marker):
                at = found.end
        self._held = text[at:]

    def _skip_white_space(self, text: str, at: int) -> int:
        visible = _VISIBLE.search(text, at)
        end = visible.start() if visible else len(text)
        self._trimmer.write(text[at:end])  # nothing comes out yet
        return end

    def _write(self, text: str) -> Iterable[Delta]:
        # White space at the end is held back only where a marker could follow that makes it meaningless.
        if shown := self._trimmer.write(text, hold=self._inside or self._framed):
            yield Delta(self._now, shown)

    def _possible(self) -> tuple[str, ...]:
        """Return the markers that count here."""
        format = self._format
        if self._inside:
            words = (*format.closers, *self._ends)
            if self._begun:
                return words
            # An opener right after another one (the prompt's and the model's) opens nothing new.
            return (*words, *format.openers, *(self._labels if self._label else ()))
        openers = format.openers if self._untouched or not format.sentences else ()
        words = (*openers, *format.noise, *format.call_ends, *(format.frame_end if self._framed else ()))
        return words if self._begun else (*words, *format.closers, *(() if self._framed else format.frame))

    def _is_text(self, marker: str) -> bool:
        """Return whether `marker` is passed on: it is quoted, or the end of a call, which others read."""
        if self._is_quoted(marker):
            return True
        if self._inside or marker not in self._format.call_ends:
            return False
        self._begun = False  # a closer that the model still owed may follow
        return True

    def _is_quoted(self, marker: str) -> bool:
        """Whether a marker is only quoted: an opener in the content or a call in the reasoning, after a quote."""
        mentioned = self._format.calls if self._inside else self._format.openers
        return self._begun and marker in mentioned and self._trimmer.last in _QUOTES

    def _is_cut_marker(self) -> bool:
        """Whether the response was cut off inside a marker that cannot be text: a special token, or the label of a
        block. Half a marker of ordinary text stays text."""
        if self._inside and self._label and self._held and self._held.strip() == self._format.label.strip():
            return True
        begun = self._held.startswith(self._format.tokens)
        return begun and markers(*self._possible()).match(self._held, 0, final=True) is None

    def _turn(self, marker: str) -> bool:
        """Change the state at `marker`. Return False if the marker has to be read again in the new state."""
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
        self._inside, self._begun, self._untouched, self._framed = True, False, False, False
        self._label = True
        self._remove()

    def _answer(self, *, framed: bool) -> None:
        self._inside, self._begun, self._untouched, self._framed = False, False, False, framed
        self._remove()

    def _remove(self) -> None:
        for trimmer in self._trimmers.values():
            trimmer.remove()
