"""Filters the tool calls of a response: those that the request did not ask for become text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlxk_core._generation.events import CONTENT, Delta, ExtractorEvent, ToolCallDelta
from mlxk_core._generation.request import Tool

_NO_ARGUMENTS = "{}"
_MOST = 1024
"""Calls of one response, as many as a request may have tools."""


class ToolCallFilter:
    """Passes the calls of one response that its request allows. Feed the events of the format in order, then `flush`.

    Without `tools` calls are text: the client could not answer one. A whole call without arguments gets `{}`.
    Without `parallel` one call passes, and the next one ends the response. After 1,024 calls the others are text.
    """

    def __init__(self, tools: Sequence[Tool], *, parallel: bool = True) -> None:
        self._tools = bool(tools)
        self._parallel = parallel
        self._passed: dict[int, int] = {}  # index of a call in the format -> index in the response
        self._bare: int | None = None  # index of the last call in the response, while it has no arguments
        self._ends_in = "\n"
        self.closed = False
        """A second call came where one is allowed: the response ends before it."""

    @property
    def called(self) -> bool:
        """Whether a call passed."""
        return bool(self._passed)

    def feed(self, event: ExtractorEvent) -> Sequence[ExtractorEvent]:
        if isinstance(event, Delta):
            self._note(event)
            return (event,) if self._bare is None else (*self.flush(), event)
        if not self._tools:
            return (self._as_text(event),)
        if event.index in self._passed:
            return (self._pass(event),)
        if len(self._passed) == _MOST and self._parallel:
            return (*self.flush(), self._as_text(event))
        return (*self.flush(), *self._begin(event))

    def flush(self, *, whole: bool = True) -> Sequence[ExtractorEvent]:
        """Return what completes the last call. Pass `whole=False` for a response that was cut off."""
        bare, self._bare = self._bare, None
        return (ToolCallDelta(bare, arguments=_NO_ARGUMENTS),) if whole and bare is not None else ()

    def _begin(self, call: ToolCallDelta) -> Sequence[ExtractorEvent]:
        if self._passed and not self._parallel:
            self.closed = True
            return ()
        return (self._pass(call),)

    def _pass(self, call: ToolCallDelta) -> ToolCallDelta:
        begins = call.index not in self._passed
        index = self._passed.setdefault(call.index, len(self._passed))
        if call.arguments.strip():
            self._bare = None
        elif begins:
            self._bare = index
        return replace(call, index=index)

    def _as_text(self, call: ToolCallDelta) -> Delta:
        """Return a call as readable text: its name at the start of a line, and its arguments."""
        text = call.arguments
        if call.name is not None:
            text = f"{'' if self._ends_in.isspace() else chr(10)}{call.name} {text}"
        delta = Delta(CONTENT, text)
        self._note(delta)
        return delta

    def _note(self, delta: Delta) -> None:
        if delta.channel is CONTENT and delta.text:
            self._ends_in = delta.text[-1]
