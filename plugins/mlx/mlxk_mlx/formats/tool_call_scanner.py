"""Tool calls in the formats mlx-lm reads, found in the content of whatever reasoning format a model has."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlxk_core.api.formats import Extractor, ExtractorContext, PlainText
from mlxk_core.api.generation import Channel, Delta, ExtractorEvent
from mlxk_core.api.text import EdgeTrimmer, markers
from mlxk_mlx.formats.bare_calls import BareCallExtractor
from mlxk_mlx.formats.tool_call_parser import Call, CallEvents, CallReader
from mlxk_mlx.formats.tool_call_readers import READERS, infer, typed
from mlxk_mlx.loading import runtime

if TYPE_CHECKING:
    from mlxk_core.api.models import Model

_TRIES = 64
"""Places where a call may end that are tried at the end of an answer; each try reads all of the text before it."""

_COMPLETE = frozenset(
    {"json_tools", "qwen3_coder", "kimi_k2", "kimi_k3", "mistral", "gemma4", "function_gemma", "minimax_m2"}
)
"""Formats whose calls show where they end without the end marker. Of the others mlx-lm's parsers make calls wherever
the text was cut, with arguments missing."""


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """How a model marks a call. An empty `end`: calls reach to the end of the answer.

    `complete` says that a call without its end marker can be told from one that was cut off.
    """

    start: str
    end: str
    parse: Callable[[str, Any], Any]
    complete: bool = False


def around(context: ExtractorContext) -> Extractor:
    """The plugin's target: `context.inner`, with the calls in its content found if mlx-lm knows the model's format."""
    inner = context.inner or PlainText()
    if tool_format_name(context.model) == "llama3":
        return BareCallExtractor(inner, context.tools)
    form = tool_format(context.model)
    if form is None:
        return inner
    # mlx-lm's parsers want their text bare: some look for its end right behind the last marker.
    reader = CallReader(lambda text, tools: form.parse(text.strip(), tools), context.tools)
    return ToolCallExtractor(inner, form, reader)


def tool_format_name(model: Model) -> str | None:
    """Return the name of the format of `model`'s calls: one of mlx-lm's, or one of our own; None if nothing tells."""
    runtime.start()
    from mlx_lm.tokenizer_utils import _infer_tool_parser

    name = model.tokenizer_config.get("tool_parser_type")
    if not isinstance(name, str) or not name.isidentifier():
        name = _infer_tool_parser(_Vocabulary(model))
    return name or infer(model.chat_template or "", model.added_tokens)


def tool_format(model: Model) -> ToolFormat | None:
    """Return the format whose calls stand between markers in the text of `model`; None if there is none."""
    name = tool_format_name(model)
    return named_format(name, model.chat_template or "") if name else None


def named_format(name: str, template: str) -> ToolFormat | None:
    """Return the format of that name; variants are told apart by the template."""
    if name in READERS:
        reader = READERS[name](template)
        return ToolFormat(reader.start, reader.end, reader.parse, complete=True)
    runtime.start()
    try:
        module = importlib.import_module(f"mlx_lm.tool_parsers.{name}")
        parse = typed(name, module.parse_tool_call)
        return ToolFormat(module.tool_call_start, module.tool_call_end, parse, name in _COMPLETE)
    except (ImportError, AttributeError):
        return None


class _Vocabulary:
    """As much of a tokenizer as mlx-lm's inference looks at."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.chat_template = model.template_text or None

    def get_vocab(self) -> Mapping[str, Any]:
        return self._model.added_tokens


class ToolCallExtractor:
    """Text between the markers of `form` that `reader` reads as calls becomes calls; all other text stays what it is.

    An opener whose text is no call is a word like others, and the text behind it is searched again. Text of another
    kind (reasoning) ends an open call as the end of the answer does.
    """

    def __init__(self, inner: Extractor, form: ToolFormat, reader: CallReader) -> None:
        self._inner = inner
        self._form = form
        self._reader = reader
        self._events = CallEvents()
        self._trimmer = EdgeTrimmer()
        self._opener = markers(form.start)
        self._text = ""  # content that is not decided yet: what may be an opener, or an open call with its opener
        self._open = False
        self._tries = _TRIES
        self._searched = 0  # there is no end of the open call in front of this place

    @property
    def channel(self) -> Channel | None:
        channel = self._inner.channel
        return None if channel is Channel.CONTENT and self._text and not self._open else channel

    def feed(self, text: str, /) -> Iterable[ExtractorEvent]:
        yield from self._take(self._inner.feed(text))

    def close(self) -> Iterable[ExtractorEvent]:
        yield from self._take(self._inner.close())
        yield from self._scan(final=True)
        if rest := self._trimmer.close():
            yield Delta(Channel.CONTENT, rest)

    def _take(self, events: Iterable[ExtractorEvent]) -> Iterator[ExtractorEvent]:
        for event in events:
            if isinstance(event, Delta) and event.channel is Channel.CONTENT:
                self._text += event.text
                yield from self._scan(final=False)
            else:
                yield from self._scan(final=True)
                yield event

    def _scan(self, *, final: bool) -> Iterator[ExtractorEvent]:
        """Decides as much of the text as can be; all of it if no more will come."""
        while self._text:
            if not self._open:
                found = self._opener.search(self._text, final=final)
                yield from self._say(found.start if found else len(self._text))
                if found is None or found.marker is None:
                    return
                self._open, self._searched = True, len(self._form.start)
            end = self._form.end
            at = self._text.find(end, self._searched) if end else -1
            if at < 0 and not final:
                self._searched = max(len(self._form.start), len(self._text) - len(end) + 1)
                return
            calls, used = self._closed(at) if at >= 0 else self._unclosed()
            self._open = False
            if calls:
                self._text = self._text[used:]
                self._trimmer.remove()
                yield from self._events.of(calls)
            else:
                yield from self._say(len(self._form.start))

    def _closed(self, at: int) -> tuple[tuple[Call, ...], int]:
        return self._reader.closed(self._text[len(self._form.start) : at]), at + len(self._form.end)

    def _unclosed(self) -> tuple[tuple[Call, ...], int]:
        """The calls in all that is left, and where they end; behind them there may be text."""
        begin = len(self._form.start)
        end = self._text.find(self._form.start, begin) if self._form.end else -1
        end = len(self._text) if end < 0 else end
        while self._form.complete and end > begin and self._tries:
            self._tries -= 1
            if calls := self._reader.unclosed(self._text[begin:end]):
                return calls, end
            end = max(self._text.rfind(bracket, begin, end - 1) for bracket in "}])>") + 1
        return (), 0

    def _say(self, length: int) -> Iterator[Delta]:
        said, self._text = self._text[:length], self._text[length:]
        if shown := self._trimmer.write(said):
            yield Delta(Channel.CONTENT, shown)
