"""Responses split by the model's own `response_template`, with transformers' streaming parser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from mlxk_core.api.formats import Extractor, ExtractorContext, PlainText
from mlxk_core.api.generation import Channel, Delta, ExtractorEvent
from mlxk_core.api.text import EdgeTrimmer
from mlxk_mlx.formats import tool_call_scanner
from mlxk_mlx.formats.format_evidence import response_template
from mlxk_mlx.formats.last_occurrence import last_occurrence
from mlxk_mlx.formats.limited_modules import limited_module
from mlxk_mlx.formats.time_limit import LimitedPattern, ResponseTimeLimit
from mlxk_mlx.formats.tool_call_parser import CallEvents, CallReader
from mlxk_mlx.loading import runtime

if TYPE_CHECKING:
    from mlxk_core.api.models import Model

REASONING = re.compile("reason|think|thought|analysis", re.IGNORECASE)
CALLS = re.compile("tool_calls?")
_REST, _NOISE, _ANCHOR = "mlxk_rest", "mlxk_noise", "mlxk_anchor"
_SILENCE = 32
"""A parser that is silent is fed in steps of this part of what it holds back."""
_SECONDS_PER_CHARACTER = 1e-4
"""CPU time for each character: several times what transformers' parser takes for one."""
_EDGES = ("open", "open_pattern", "close", "close_pattern")


def extractor(context: ExtractorContext) -> Extractor:
    """Return the parser of a response. The text of a template that transformers rejects stays whole."""
    template = response_template(context.model) or {}
    finds_calls = any(CALLS.fullmatch(name) for name in template.get("fields", ()))
    try:
        found: Extractor = _build(template, context)
    except Exception:  # transformers checks what the model's author wrote
        found, finds_calls = PlainText(), False
    if context.tools and not finds_calls:
        return tool_call_scanner.around(replace(context, inner=found))
    return found


def _build(template: Mapping[str, Any], context: ExtractorContext) -> Extractor:
    runtime.start()
    ResponseParser = _transformers().ResponseParser
    ResponseParser(_compiled(template), prefix="")  # raises for a form that it does not know
    regions = _regions(template, context) if context.tools else _regions(_without_calls(template), context)
    lossless = _compiled(_make_lossless(template, regions, context.model))
    parser = ResponseParser(lossless, prefix=context.prompt_suffix)
    return RegionExtractor(parser, regions, _PlainCharacters(lossless))


@dataclass(frozen=True, slots=True)
class Region:
    """The use of the text of one field. `calls` reads it if it is a call, which ends where `closer` matches.

    `stops` are tokens in the closer: one that ends the answer never comes as text.
    """

    channel: Channel
    field: Mapping[str, Any]
    calls: CallReader | None = None
    closer: Any = None
    stops: tuple[str, ...] = ()

    @property
    def implicit(self) -> bool:
        return not self.field.keys() & {"open", "open_pattern"}

    @property
    def strips(self) -> bool:
        return bool(_mapping(self.field.get("content_args")).get("strip", True))


_OUTSIDE = Region(Channel.CONTENT, {})


def _regions(template: Mapping[str, Any], context: ExtractorContext) -> dict[str, Region]:
    regions = {}
    for name, field in template["fields"].items():
        if CALLS.fullmatch(name):
            regions[name] = _call_region(template, name, context)
        else:
            channel = Channel.REASONING if REASONING.search(name) else Channel.CONTENT
            regions[name] = Region(channel, field)
    return regions


def _call_region(template: Mapping[str, Any], name: str, context: ExtractorContext) -> Region:
    import regex

    parse_response = _transformers().parse_response
    field = template["fields"][name]
    alone = _compiled({**template, "defaults": {}, "fields": {name: {**field, "optional": True}}})

    def parse(text: str, tools: list[dict[str, Any]]) -> Any:
        return parse_response(text, alone, prefix="", tools=tools)[name]

    end = _pattern(field, "close")
    closer = LimitedPattern(regex.compile(end, regex.DOTALL)) if end else None
    tokens = [token.text for token in context.model.added_tokens.values() if token.special]
    stops = tuple(token for token in tokens if token in end or re.escape(token) in end)
    return Region(Channel.CONTENT, field, CallReader(parse, context.tools), closer, stops)


def _compiled(template: Mapping[str, Any]) -> Any:
    """Return `template` with a limit on the time that its author's patterns may take."""
    from transformers.utils.chat_parsing.response_templates import load_response_template

    compiled = load_response_template(dict(template))
    compiled.start_anchor_re = LimitedPattern(compiled.start_anchor_re)
    for field in compiled.fields.values():
        field.open_re = LimitedPattern(field.open_re) if field.open_re else None
        field.close_re = LimitedPattern(field.close_re) if field.close_re else None
    return compiled


@cache
def _transformers() -> Any:
    """Return transformers' module of `ResponseParser`, limiting patterns in the `content_args` of templates too."""
    package = "transformers.utils.chat_parsing"
    module = limited_module(f"{package}.response_parser")
    module.process_field = limited_module(f"{package}.content_parsers").process_field  # type: ignore[attr-defined]
    return module


def _make_lossless(template: Mapping[str, Any], regions: Mapping[str, Region], model: Model) -> dict[str, Any]:
    """Return `template` changed so that its parser assigns all text to a field, drops none and does not raise.

    Every field is text and optional. A group keeps the opener of a call, which may turn out to be text. Where the
    template drops text outside its fields, one more field keeps it, without the tokens that only delimit messages.
    """
    fields: dict[str, Any] = {}
    for name, region in regions.items():
        edges = {key: region.field[key] for key in _EDGES if key in region.field}
        transform: Any = "{content}"
        if region.calls:
            transform = {"body": "{content}"}
            if start := _pattern(edges, "open"):
                edges = {key: value for key, value in edges.items() if "close" in key}
                edges["open_pattern"] = f"(?P<mlxk_open>{start})"
                transform["open"] = "{mlxk_open}"
        fields[name] = {**edges, "content": "text", "content_args": {"strip": False}, "transform": transform}
    anchor = {key: template[key] for key in ("start_anchor", "start_anchor_pattern") if key in template}
    if not any(region.implicit for region in regions.values()):
        fields[_REST] = {"content": "text"}
        written = model.template_text
        if noise := [token.text for token in model.added_tokens.values() if token.special and token.text in written]:
            fields[_NOISE] = {"open": noise, "close_pattern": ""}
        opens = {key.replace("start_anchor", "open"): value for key, value in anchor.items()}
        fields[_ANCHOR] = {**opens, "close_pattern": "", "transform": "{content}"}
    return {"version": template.get("version", 1), "fields": fields, **anchor}


class _PlainCharacters:
    """Characters with which no opener and no closer of a template begins. A run of them is fed at once."""

    def __init__(self, template: Any = None) -> None:
        fields = template.fields.values() if template is not None else ()
        edges = [edge for field in fields for edge in (field.open_re, field.close_re) if edge]
        self._edges = [edge for edge in edges if edge.pattern]  # an empty closer matches before the next character
        self._known: dict[str, bool] = {}

    def end(self, text: str, at: int) -> int:
        """Return where the run ends that begins at `at`: one character further if that is not plain."""
        end = at
        while end < len(text) and self._is_plain(text[end]):
            end += 1
        return max(end, at + 1)

    def _is_plain(self, character: str) -> bool:
        plain = self._known.get(character)
        if plain is None:
            found = (edge.search(character, partial=True) for edge in self._edges)
            plain = bool(self._edges) and all(match is None or match.start() for match in found)
            self._known[character] = plain
        return plain


class RegionExtractor:
    """Translates the events of `parser` to those of a response. `regions` describes its fields.

    The parser is fed character by character, since its regular expressions match differently in pieces of another
    size; `plain` ones at once, and in longer steps while it holds back much text, all of which it would search again.
    """

    def __init__(self, parser: Any, regions: Mapping[str, Region], plain: _PlainCharacters | None = None) -> None:
        self._parser = parser
        self._regions = regions
        self._plain = plain or _PlainCharacters()
        self._implicit = next((name for name, region in regions.items() if region.implicit), _REST)
        self._trimmers = {channel: EdgeTrimmer() for channel in Channel}
        self._calls = CallEvents()
        self._region = self._implicit
        self._next = ""  # what is fed with the next step
        self._silent = 0  # how many characters the parser was fed since it last had an event
        self._raw = ""  # the end of what it was fed: all that it has not given back, and perhaps a marker before it
        self._closing: _Closing | None = None
        self._limit = ResponseTimeLimit(_SECONDS_PER_CHARACTER)
        self._resume(parser.initial_events)

    @property
    def region(self) -> Channel:
        """The channel of the region that is open, which may just have been closed."""
        return self._region_of(self._region).channel

    @property
    def channel(self) -> Channel | None:
        return None if self._silent or self._next else self._region_of(self._region).channel

    def feed(self, text: str, /) -> Iterable[ExtractorEvent]:
        self._limit.add(len(text))
        for region in self._regions.values():
            if region.calls:
                region.calls.limit.add(len(text))
        with self._limit:
            return list(self._feed(text))

    def close(self) -> Iterable[ExtractorEvent]:
        with self._limit:
            return list(self._close())

    def _feed(self, text: str) -> Iterator[ExtractorEvent]:
        at = 0
        while at < len(text):
            if self._parser is None:
                yield from self._write(Channel.CONTENT, text[at:])
                return
            together = not self._silent and not self._next and self._closing is None
            end = self._plain.end(text, at) if together else at + 1
            self._next += text[at:end]
            at = end
            if len(self._next) > self._silent // _SILENCE:
                yield from self._step()

    def _close(self) -> Iterator[ExtractorEvent]:
        if self._next:
            yield from self._step()
        if self._parser is not None:
            yield from self._take(lambda: self._parser.finalize()[1])
        yield from self._settle()
        for channel, trimmer in self._trimmers.items():
            if rest := trimmer.close():
                yield Delta(channel, rest)

    def _step(self) -> Iterator[ExtractorEvent]:
        text, self._next = self._next, ""
        self._raw += text
        self._silent += len(text)
        yield from self._take(lambda: self._parser.feed(text))

    def _resume(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take over a region that the prompt opened, perhaps with the beginning of its text."""
        said = ""
        for event in events:
            self._move(event)
            said = said + event["text"] if event["type"] == "region_chunk" else ""
        region = self._region_of(self._region)
        if region.strips and not said.strip():
            self._trimmers[region.channel].remove()
        if not region.implicit:
            self._silent = 1  # the prompt may have closed it as well, in white space that the closer could go on with

    def _take(self, step: Callable[[], Iterable[Mapping[str, Any]]]) -> Iterator[ExtractorEvent]:
        try:
            events = list(step())
        except Exception:  # a parser error must not lose text
            self._parser, self._region, self._silent = None, self._implicit, 0
            yield from self._write(Channel.CONTENT, self._raw)
            return
        if events:
            self._silent = 0
        for event in events:
            self._move(event)
            yield from self._translate(event)

    def _move(self, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "region_open":
                self._region = event["field"]
            case "region_close":
                self._region = self._implicit

    def _translate(self, event: Mapping[str, Any]) -> Iterator[ExtractorEvent]:
        region = self._region_of(event["field"])
        trimmer = self._trimmers[region.channel]
        kind = event["type"]
        if kind == "region_open" and not region.implicit:
            yield from self._settle()
        if region.calls:
            if kind == "region_close":
                yield from self._call(region, event["value"])
            return
        if kind == "region_chunk":
            self._raw = self._raw[len(event["text"]) :]
            if self._closing is None:
                yield from self._write(region.channel, event["text"])
            elif not self._closing.takes(event["text"]):
                yield from self._settle()
            return
        if kind == "region_open" and not region.implicit:
            trimmer.separate(region.field.get("join") or "\n")
        if region.strips:
            trimmer.remove()

    def _call(self, region: Region, value: Mapping[str, str]) -> Iterator[ExtractorEvent]:
        assert region.calls is not None
        text = value.get("open", "") + value["body"]
        begin = last_occurrence(self._raw, text)
        end = begin + len(text)
        closer = _in_time(region.closer.match, self._raw, end) if region.closer else None
        end = closer.end() if closer else end
        text, self._raw = self._raw[begin:end], self._raw[end:]
        if closer and closer.group():
            calls = region.calls.read_closed(text)
        else:
            ends = (region.calls.read_closed(text + stop) for stop in region.stops)
            calls = region.calls.read_unclosed(text) or next(filter(None, ends), ())
        if calls:
            self._trimmers[Channel.CONTENT].remove()
            yield from self._calls.of(calls)
            self._closing = _Closing(region.closer, closer.group()) if closer else None
        else:
            yield from self._write(Channel.CONTENT, text)

    def _settle(self) -> Iterator[ExtractorEvent]:
        if self._closing is not None:
            yield from self._write(Channel.CONTENT, self._closing.rest())
            self._closing = None

    def _write(self, channel: Channel, text: str) -> Iterator[Delta]:
        if shown := self._trimmers[channel].write(text):
            yield Delta(channel, shown)

    def _region_of(self, name: str) -> Region:
        return self._regions.get(name, _OUTSIDE)


class _Closing:
    """The text after a call while it may still belong to the closer, whose end can be optional: the parser takes the
    part of a closer that it has seen for all of it."""

    def __init__(self, closer: Any, text: str) -> None:
        self._closer = closer
        self._text = text
        self._least = len(text)

    def takes(self, text: str) -> bool:
        self._text += text
        return _in_time(self._closer.fullmatch, self._text, partial=True) is not None

    def rest(self) -> str:
        found = _in_time(self._closer.match, self._text)
        return self._text[max(self._least, found.end() if found else 0) :]


def _in_time(search: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what a limited `search` finds, None if it takes too long."""
    try:
        return search(*args, **options)
    except TimeoutError:
        return None


def _without_calls(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `template` without calls: in a request without tools they are text."""
    return {**template, "fields": {k: v for k, v in template["fields"].items() if not CALLS.fullmatch(k)}}


def _pattern(field: Mapping[str, Any], edge: str) -> str:
    """Return the opener or closer of a field as one regular expression, empty if it has none."""
    literal = field.get(edge)
    if literal is None:
        return str(field.get(f"{edge}_pattern", ""))
    literals = [literal] if isinstance(literal, str) else sorted(literal, key=len, reverse=True)
    return "|".join(map(re.escape, literals))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
