"""A simple format for tests: text in (parentheses) is reasoning, `!` is a tool call, `~` raises."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import hookimpl
from mlxk_core.api.formats import Evidence, ExtractorContext, Strength
from mlxk_core.api.generation import Channel, Delta, ExtractorEvent, ToolCallDelta
from mlxk_core.api.hooks import ReasoningExtractorSpec


class FakeExtractor:
    """Splits `(a)b!` into reasoning `a`, content `b` and a call of `shout` with `{}`; fails on `~`."""

    def __init__(self, context: ExtractorContext | None = None) -> None:
        self.channel: Channel | None = Channel.CONTENT
        self._calls = 0

    def feed(self, text: str, /) -> Iterable[ExtractorEvent]:
        for character in text:
            if character in "()":
                self.channel = Channel.REASONING if character == "(" else Channel.CONTENT
            elif character == "!":
                yield ToolCallDelta(self._calls, f"call_{self._calls + 1}", "shout", "{}")
                self._calls += 1
            elif character == "~":
                raise ValueError("no such marker")
            else:
                assert self.channel is not None
                yield Delta(self.channel, character)

    def close(self) -> Iterable[ExtractorEvent]:
        return ()


class FakeFormat:
    """A plugin object with this format, for every model."""

    @hookimpl
    def mlxk_reasoning_extractors(self) -> Iterable[ReasoningExtractorSpec]:
        yield ReasoningExtractorSpec(
            name="parentheses",
            summary="(Reasoning) in parentheses.",
            matches=lambda model: Evidence(Strength.TEMPLATE, "the test says so"),
            target=FakeExtractor,
            tool_calls="own",
        )
