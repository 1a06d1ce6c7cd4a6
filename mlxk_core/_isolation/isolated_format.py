"""Isolation of formats: what their parsers raise or return wrongly becomes a failure of their plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from mlxk_core._errors import MlxkError, PluginFailure
from mlxk_core._generation.events import Channel, Delta, ExtractorEvent, ToolCallDelta
from mlxk_core._generation.extractor import Cuttable, Extractor, ExtractorContext
from mlxk_core._generation.model_formats import Format
from mlxk_core._generation.response_grammar import ResponseGrammar
from mlxk_core._host.host import Host
from mlxk_core._host.specs import ReasoningExtractorSpec

_T = TypeVar("_T")
_HINT = "Use --reasoning-format none to turn formats off."


def load_format(host: Host, spec: ReasoningExtractorSpec) -> Format:
    """Return the format that `spec` describes. Raises `PluginFailure` if a target cannot be loaded."""
    return Format(
        name=spec.name,
        parses_tool_calls=spec.tool_calls == "own",
        make_parser=partial(_make_parser, host, spec, host.load(spec.target)),
        make_grammar=None if spec.grammar is None else partial(_make_grammar, host, spec, host.load(spec.grammar)),
    )


class IsolatedParser:
    """A parser of a plugin's format, whose events have been checked."""

    __slots__ = ("_blame", "_close", "_feed", "_parser")

    def __init__(self, parser: Any, blame: Callable[[str, BaseException, object], PluginFailure]) -> None:
        self._parser = parser
        self._feed = parser.feed
        self._close = parser.close
        self._blame = blame

    @property
    def channel(self) -> Channel | None:
        try:
            channel = self._parser.channel
            if channel is not None and not isinstance(channel, Channel):
                raise TypeError(f"it is {channel!r}, which is not a Channel")
            return channel
        except (MlxkError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise self._blame("channel", error, type(self._parser)) from error

    def feed(self, text: str, /) -> Sequence[ExtractorEvent]:
        return self._check_events("feed()", self._feed, text)

    def cut(self) -> None:
        if not isinstance(self._parser, Cuttable):
            return
        try:
            self._parser.cut()
        except (MlxkError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise self._blame("cut()", error, type(self._parser)) from error

    def close(self) -> Sequence[ExtractorEvent]:
        return self._check_events("close()", self._close)

    def _check_events(
        self, what: str, function: Callable[..., Iterable[ExtractorEvent]], *text: str
    ) -> list[ExtractorEvent]:
        try:
            events = list(function(*text))
            for event in events:
                check_event(event)
            return events
        except (MlxkError, KeyboardInterrupt):
            raise
        except BaseException as error:  # a panic in a Rust extension is not an `Exception`
            raise self._blame(what, error, function) from error


def check_event(event: ExtractorEvent) -> None:
    """Raise `TypeError` for an event that no consumer could use."""
    match event:
        case Delta(channel=Channel(), text=str()) | ToolCallDelta(index=int(), arguments=str()):
            return
    raise TypeError(f"{type(event).__name__} is not an event of a format, or has a field of the wrong type")


def _make_parser(
    host: Host, spec: ReasoningExtractorSpec, make: Callable[..., Any], context: ExtractorContext
) -> Extractor:
    parser = _call(host, spec, "its target", make, context)
    for name in ("feed", "close"):
        if not callable(getattr(parser, name, None)):
            error = TypeError(f"it returns {type(parser).__name__}, which has no `{name}`")
            raise _failure(host, spec, "its target", error, make)
    return IsolatedParser(parser, partial(_failure, host, spec))


def _make_grammar(
    host: Host, spec: ReasoningExtractorSpec, state: Callable[..., Any], context: ExtractorContext
) -> ResponseGrammar | None:
    grammar = _call(host, spec, "its grammar", state, context)
    if grammar is not None and not isinstance(grammar, ResponseGrammar):
        error = TypeError(f"it returns {type(grammar).__name__}, not ResponseGrammar or None")
        raise _failure(host, spec, "its grammar", error, state)
    return grammar


def _call(
    host: Host,
    spec: ReasoningExtractorSpec,
    what: str,
    function: Callable[[ExtractorContext], _T],
    context: ExtractorContext,
) -> _T:
    try:
        return function(context)
    except (MlxkError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _failure(host, spec, what, error, function) from error


def _failure(
    host: Host, spec: ReasoningExtractorSpec, what: str, error: BaseException, source: object
) -> PluginFailure:
    failure = host.failure_of(spec, f"reasoning format {spec.name}: {what}", error, source=source)
    return failure.with_hint(_HINT, format=spec.name)
