"""Tool calls in the formats mlx-lm reads, found in the content of whatever reasoning format a model has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlxk_core.api.formats import Cuttable, Extractor, ExtractorContext, PlainText
from mlxk_core.api.generation import Channel, Delta, ExtractorEvent
from mlxk_core.api.text import EdgeTrimmer, markers
from mlxk_mlx.formats.bare_calls import BareCallExtractor
from mlxk_mlx.formats.format_names import BARE_CALLS, tool_format_name
from mlxk_mlx.formats.limited_modules import limited_module
from mlxk_mlx.formats.tagged_calls import with_types
from mlxk_mlx.formats.tool_call_parser import LONGEST_CALL, Call, CallEvents, CallReader, Ending
from mlxk_mlx.formats.tool_call_readers import READERS
from mlxk_mlx.formats.truncated_calls import cut_calls
from mlxk_mlx.loading import runtime

if TYPE_CHECKING:
    from mlxk_core.api.models import Model

_TRIES = 64
"""Places where a call may end that are tried at the end of an answer; each try reads all of the text before it."""

_OPENERS = 256
"""Openers without a call that are searched: each one searches the text after it."""

_STRING = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
"""The rest of a JSON string, without the quote that ends it."""

_COMPLETE = frozenset(
    {"json_tools", "qwen3_coder", "kimi_k2", "kimi_k3", "mistral", "gemma4", "function_gemma", "minimax_m2"}
)
"""Formats whose calls show where they end without the end marker. Of the others mlx-lm's parsers make calls wherever
the text was cut, with arguments missing."""


_QUOTES = frozenset("`'\"‘“«")
"""What precedes an opener that reasoning only mentions."""


def _string_end(text: str, at: int = 0) -> int:
    """Return where the JSON string that is open at `at` ends, before its quote or an escape that is not complete."""
    found = _STRING.match(text, at)
    assert found is not None
    return found.end()


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """Markers of a call. With an empty `end`, calls extend to the end of the answer.

    `complete`: a call without its end marker can be distinguished from one that was cut off.
    """

    start: str
    end: str
    parse: Callable[[str, Any], Any]
    complete: bool = False
    name: str = ""


def around(context: ExtractorContext) -> Extractor:
    """Return `context.inner`, wrapped to find tool calls if mlx-lm knows the model's format."""
    inner = context.inner or PlainText()
    if tool_format_name(context.model) == BARE_CALLS:
        return BareCallExtractor(inner, context.tools)
    form = tool_format(context.model)
    if form is None:
        return inner
    # mlx-lm's parsers expect no white space at the edges: some look for the end right after the last marker.
    reader = CallReader(lambda text, tools: form.parse(text.strip(), tools), context.tools)
    return ToolCallExtractor(inner, form, reader)


def tool_format(model: Model) -> ToolFormat | None:
    """Return the format whose calls stand between markers in the text of `model`; None if there is none."""
    name = tool_format_name(model)
    return named_format(name, model.template_text) if name else None


def named_format(name: str, template: str) -> ToolFormat | None:
    """Return the format of that name; the template decides between variants."""
    if name in READERS:
        reader = READERS[name](template)
        return ToolFormat(reader.start, reader.end, reader.parse, complete=True, name=name)
    runtime.start()
    try:
        module = limited_module(f"mlx_lm.tool_parsers.{name}", siblings=True)
        parse = with_types(name, module.parse_tool_call)
        return ToolFormat(module.tool_call_start, module.tool_call_end, parse, name in _COMPLETE, name)
    except (ImportError, AttributeError):
        return None


class ToolCallExtractor:
    """Finds tool calls in the content and in the reasoning of `inner`: text between the markers of `form` that `reader`
    accepts. All other text stays what it is.

    An opener whose text is not a call is text, and what follows it is searched again. Models write calls without
    closing their reasoning, and also talk about calls there: in reasoning only a call with its end marker counts,
    unless the response ends, and an opener in quotes does not. Where the text takes longer to search than the
    reader allows, or a call gets longer than one may be, the rest of the text is text.
    """

    def __init__(self, inner: Extractor, form: ToolFormat, reader: CallReader) -> None:
        self._inner = inner
        self._form = form
        self._reader = reader
        self._events = CallEvents()
        self._trimmers = {channel: EdgeTrimmer() for channel in Channel}
        self._opener = markers(form.start)
        self._text = ""  # from `_at` on it is not decided yet: what may be an opener, or an open call with its opener
        self._at = 0
        self._later: list[str] = []  # what follows the text of an open call, and need not be searched yet
        self._length = 0  # of both
        self._tail = ""  # of both: where an end marker may have begun, or a backslash that escapes what comes next
        self._of = Channel.CONTENT  # the channel of that text
        self._drafts: dict[tuple[str, str], int] = {}
        self._open = False
        self._tries = _TRIES
        self._openers = _OPENERS
        self._cut = False
        self._searched = 0  # the open call does not end before this position
        self._in_string = False  # at that position

    @property
    def channel(self) -> Channel | None:
        channel = self._inner.channel
        if channel is not None and channel is self._of and self._text:
            # In reasoning, whether it is a call or still reasoning is known at its end only.
            return Channel.CONTENT if self._open and channel is Channel.CONTENT else None
        return channel

    def feed(self, text: str, /) -> Iterable[ExtractorEvent]:
        yield from self._take(self._inner.feed(text))

    def cut(self) -> None:
        """Note that a limit ends the response: `close` then returns an open call with the arguments there are."""
        self._cut = True
        if isinstance(self._inner, Cuttable):
            self._inner.cut()

    def close(self) -> Iterable[ExtractorEvent]:
        yield from self._take(self._inner.close())
        if self._cut:
            yield from self._scan(final=False)
            yield from self._cut_calls()
        yield from self._scan(final=True, closed_only=False)
        for channel, trimmer in self._trimmers.items():
            if rest := trimmer.close():
                yield Delta(channel, rest)

    def _take(self, events: Iterable[ExtractorEvent]) -> Iterator[ExtractorEvent]:
        for event in events:
            if not isinstance(event, Delta):
                yield from self._finish_channel()
                yield event
                continue
            if event.channel is not self._of:
                yield from self._finish_channel()
                self._of = event.channel
            self._reader.limit.add(len(event.text))
            self._later.append(event.text)
            self._length += len(event.text)
            if self._open and self._length > LONGEST_CALL:
                self._reader.limit.exhaust()
            if not self._open or self._may_end(event.text) or self._reader.limit.exceeded:
                yield from self._scan(final=False)

    def _may_end(self, text: str) -> bool:
        """Whether `text`, which comes after all that was searched, can make a difference for the open call."""
        end = self._form.end
        if not end:
            return False
        text = self._tail + text
        if self._in_string:
            string = _string_end(text)
            self._tail = text[string:]
            return text.startswith('"', string)
        self._tail = text[-len(end) :]
        return end in text

    def _finish_channel(self) -> Iterator[ExtractorEvent]:
        yield from self._scan(final=True, closed_only=self._of is Channel.REASONING and bool(self._form.end))
        if rest := self._trimmers[self._of].close():
            yield Delta(self._of, rest)

    def _scan(self, *, final: bool, closed_only: bool = False) -> Iterator[ExtractorEvent]:
        """Decide as much of the text as can be decided; all of it if `final`."""
        if self._later:
            self._text += "".join(self._later)
            self._later.clear()
        yield from self._decide(final=final, closed_only=closed_only)
        self._text, self._searched, self._at = self._text[self._at :], self._searched - self._at, 0
        self._length = len(self._text)
        if self._in_string:
            self._tail = self._text[self._searched :]
        else:
            self._tail = self._text[1 - len(self._form.end) :] if len(self._form.end) > 1 else ""

    def _decide(self, *, final: bool, closed_only: bool) -> Iterator[ExtractorEvent]:
        start = len(self._form.start)
        while self._at < len(self._text):
            if self._reader.limit.exceeded:
                self._open = False
                yield from self._say(len(self._text))
                return
            if not self._open:
                found = self._opener.search(self._text, self._at, final=final)
                yield from self._say(found.start if found else len(self._text))
                if found is None or found.marker is None:
                    return
                if self._of is Channel.REASONING and self._trimmers[self._of].last in _QUOTES:
                    yield from self._say(self._at + start)
                    continue
                self._open, self._in_string, self._searched = True, False, self._at + start
            end = self._find_end()
            if end < 0 and not final:
                return
            body = self._text[self._at + start : end] if end >= 0 else ""
            if end >= 0:
                calls, used = self._reader.read_closed(body), end + len(self._form.end)
            else:
                calls, used = ((), 0) if closed_only else self._read_unclosed()
            if not calls and end >= 0 and (ending := self._reader.ending(body)) is not Ending.OUTSIDE:
                self._searched = used  # the marker is part of a string of the arguments
                self._in_string = ending is Ending.STRING
                continue
            self._open = False
            if calls:
                self._at = used
                self._trimmers[self._of].remove()
                yield from self._events.of(self._new(calls))
            else:
                self._openers -= 1
                if not self._openers:
                    self._reader.limit.exhaust()
                yield from self._say(self._at + start)

    def _find_end(self) -> int:
        """Return where the next end marker of the open call is, outside of a string that is known to be open; -1 if it
        is not there yet. Nothing is searched twice."""
        end = self._form.end
        if not end:
            return -1
        if self._in_string:
            self._searched = _string_end(self._text, self._searched)
            if not self._text.startswith('"', self._searched):
                return -1
            self._searched += 1
            self._in_string = False
        at = self._text.find(end, self._searched)
        if at < 0:
            self._searched = max(self._searched, len(self._text) - len(end) + 1)
        return at

    def _cut_calls(self) -> Iterator[ExtractorEvent]:
        """Return the open calls of an answer that a limit ended."""
        if not self._open or self._of is not Channel.CONTENT:
            return
        calls = cut_calls(self._form.name, self._text[len(self._form.start) :], self._reader.names)
        if calls:
            self._open, self._text, self._length = False, "", 0
            self._trimmers[self._of].remove()
            yield from self._events.of(self._new(calls))

    def _new(self, calls: Iterable[Call]) -> Iterator[Call]:
        """Yield `calls` without those that the reasoning has made already: models draft a call and then write it."""
        for call in calls:
            key = (call.name, call.arguments)
            if self._of is Channel.REASONING:
                self._drafts[key] = self._drafts.get(key, 0) + 1
            elif self._drafts.get(key):
                self._drafts[key] -= 1
                continue
            yield call

    def _read_unclosed(self) -> tuple[tuple[Call, ...], int]:
        """Return the calls in the rest of the text, and where they end; text may follow them."""
        begin = self._at + len(self._form.start)
        end = self._text.find(self._form.start, begin) if self._form.end else -1
        end = len(self._text) if end < 0 else end
        while self._form.complete and end > begin and self._tries:
            self._tries -= 1
            if calls := self._reader.read_unclosed(self._text[begin:end]):
                return calls, end
            end = max(self._text.rfind(bracket, begin, end - 1) for bracket in "}])>") + 1
        return (), 0

    def _say(self, end: int) -> Iterator[Delta]:
        """Return the text up to `end`, which is text."""
        said, self._at = self._text[self._at : end], end
        if shown := self._trimmers[self._of].write(said):
            yield Delta(self._of, shown)
