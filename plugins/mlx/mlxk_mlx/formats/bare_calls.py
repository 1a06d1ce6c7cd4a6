"""Tool calls that no marker opens: an answer that is one JSON object, as Llama 3 writes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from mlxk_core.api.formats import Cuttable, Extractor
from mlxk_core.api.generation import Channel, Delta, ExtractorEvent, Tool
from mlxk_mlx.formats.format_names import BARE_CALLS
from mlxk_mlx.formats.tool_call_parser import LONGEST_CALL, Call, CallEvents, CallReader
from mlxk_mlx.formats.truncated_calls import cut_calls

_TAG = "<|python_tag|>"
_BETWEEN = "; \n\t\r"


class BareCallExtractor:
    """Content that begins with a call is calls, if all of it is; other content stays what it is.

    A call is an object with `name` and `parameters` (or `arguments`) whose name is one of the `tools`; several are
    separated by `;`. `<|python_tag|>` may come first.
    """

    def __init__(self, inner: Extractor, tools: Sequence[Tool]) -> None:
        self._inner = inner
        self._names = {tool.name for tool in tools}
        self._reader = CallReader(lambda text, _: json.loads(text), tools)
        self._events = CallEvents()
        self._text: list[str] = []  # what may still be calls
        self._length = 0
        self._begun = False  # whether it begins as a call does
        self._decided = False
        self._cut = False

    @property
    def channel(self) -> Channel | None:
        channel = self._inner.channel
        return None if channel is Channel.CONTENT and self._text else channel

    def feed(self, text: str, /) -> Iterable[ExtractorEvent]:
        yield from self._take(self._inner.feed(text))

    def cut(self) -> None:
        """Note that a limit ends the response: `close` then returns an open call with the arguments there are."""
        self._cut = True
        if isinstance(self._inner, Cuttable):
            self._inner.cut()

    def close(self) -> Iterable[ExtractorEvent]:
        yield from self._take(self._inner.close())
        yield from self._settle()

    def _take(self, events: Iterable[ExtractorEvent]) -> Iterator[ExtractorEvent]:
        for event in events:
            if not isinstance(event, Delta) or event.channel is not Channel.CONTENT:
                yield from self._settle()
                yield event
            elif self._decided:
                yield event
            else:
                self._text.append(event.text)
                self._length += len(event.text)
                self._reader.limit.add(len(event.text))
                # White space decides nothing, and there may be a megabyte of it.
                if self._length > LONGEST_CALL or not (self._begun or event.text.isspace() or self._may_call()):
                    self._decided = True
                    yield from self._settle()

    def _may_call(self) -> bool:
        text = "".join(self._text).lstrip()
        if text.startswith(_TAG):
            text = text[len(_TAG) :].lstrip()
        self._begun = text.startswith("{")
        return not text or self._begun or _TAG.startswith(text)

    def _settle(self) -> Iterator[ExtractorEvent]:
        """Decide what is held: calls if all of it is, else text."""
        text = "".join(self._text)
        self._text.clear()
        self._length = 0
        calls: Sequence[Call] = self._calls(text)
        if not calls and self._cut:
            calls = cut_calls(BARE_CALLS, text.strip().removeprefix(_TAG), self._names)
        if calls:
            yield from self._events.of(calls)
        elif text:
            yield Delta(Channel.CONTENT, text)

    def _calls(self, text: str) -> list[Call]:
        rest = text.strip().removeprefix(_TAG).strip(_BETWEEN)
        calls: list[Call] = []
        at = 0
        while at < len(rest):
            try:
                _, end = json.JSONDecoder().raw_decode(rest, at)
            except (ValueError, RecursionError):
                return []
            found = self._reader.read_closed(rest[at:end])
            if not found or any(call.name not in self._names for call in found):
                return []
            calls += found
            while end < len(rest) and rest[end] in _BETWEEN:
                end += 1
            at = end
        return calls
