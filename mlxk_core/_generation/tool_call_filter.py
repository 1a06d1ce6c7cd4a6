"""Which tool calls of an answer go through as calls. The others are part of the answer, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mlxk_core._generation.events import Channel, Delta, ExtractorEvent, ToolCallDelta
from mlxk_core._generation.request import Tool

_NO_ARGUMENTS = "{}"


class ToolCallFilter:
    """Holds the calls of one answer to what its request said. Feed the extractor's events in order, then `flush`.

    Without `tools` calls are text: the client could not answer one. A whole call without arguments gets `{}`.
    Without `parallel` one call goes through, and the next one ends the answer.
    """

    def __init__(self, tools: Sequence[Tool], *, parallel: bool = True) -> None:
        self._tools = bool(tools)
        self._parallel = parallel
        self._passed: dict[int, int] = {}  # a call's index in the extractor's count, and in ours
        self._bare: int | None = None  # our index of the last call that went through, while it has no arguments
        self._ends_in = "\n"
        self.closed = False
        """A second call came where one was asked for: the answer ends before it."""

    @property
    def called(self) -> bool:
        """Whether a call went through."""
        return bool(self._passed)

    def feed(self, event: ExtractorEvent) -> Iterator[ExtractorEvent]:
        if isinstance(event, Delta):
            yield from self.flush()
            yield self._noted(event)
        elif not self._tools:
            yield self._as_text(event)
        elif event.index in self._passed:
            yield self._pass(event)
        else:
            yield from self.flush()
            yield from self._begin(event)

    def flush(self, *, whole: bool = True) -> Iterator[ExtractorEvent]:
        """What is still held back: nothing more of it will come. Not `whole` is a call that was cut off."""
        bare, self._bare = self._bare, None
        if whole and bare is not None:
            yield ToolCallDelta(bare, arguments=_NO_ARGUMENTS)

    def _begin(self, call: ToolCallDelta) -> Iterator[ExtractorEvent]:
        if self._passed and not self._parallel:
            self.closed = True
        else:
            yield self._pass(call)

    def _pass(self, call: ToolCallDelta) -> ToolCallDelta:
        begins = call.index not in self._passed
        index = self._passed.setdefault(call.index, len(self._passed))
        if call.arguments.strip():
            self._bare = None
        elif begins:
            self._bare = index
        return replace(call, index=index)

    def _as_text(self, call: ToolCallDelta) -> Delta:
        """A call as a person would read it: its name at the start of a line, and its arguments."""
        text = call.arguments
        if call.name is not None:
            text = f"{'' if self._ends_in.isspace() else chr(10)}{call.name} {text}"
        return self._noted(Delta(Channel.CONTENT, text))

    def _noted(self, delta: Delta) -> Delta:
        if delta.channel is Channel.CONTENT and delta.text:
            self._ends_in = delta.text[-1]
        return delta
