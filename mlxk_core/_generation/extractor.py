"""The format parser protocol: it splits one streamed response into reasoning, content and tool calls."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mlxk_core._generation.events import CONTENT, Channel, Delta, ExtractorEvent
from mlxk_core._generation.request import Tool

if TYPE_CHECKING:
    from mlxk_core._models.model import Model


@dataclass(frozen=True, kw_only=True)
class ExtractorContext:
    """Facts about the one response that an extractor is made for.

    `prompt_suffix` is what the template wrote after the last turn to open the answer ("" for a raw prompt): it may
    contain an opened or a closed block. `tools` are those whose calls this extractor has to find or to leave in the
    content: the request's, or none where another extractor finds the calls. `inner` is the extractor of the model's
    format, for one that finds tool calls around it: it reads the text first, and both of its channels are searched.
    """

    model: Model
    prompt_suffix: str = ""
    tools: tuple[Tool, ...] = ()
    inner: Extractor | None = None


class Extractor(Protocol):
    """Parses one response. The joined events must not depend on how the text was cut into `feed` calls.

    No text is lost, no marker of the format is passed on, and nothing raises. `mlxk_testing.assert_format` checks this.
    """

    @property
    def channel(self) -> Channel | None:
        """Where text that is fed next goes; None while a marker or a header is incomplete.

        Inside a tool call and between messages it is CONTENT: reasoning tokens are counted by it.
        """

    def feed(self, text: str, /) -> Iterable[ExtractorEvent]:
        """Return the events that `text` completes. Hold back what may be the beginning of a marker, and nothing else.

        No `Delta` is empty. The first `ToolCallDelta` of a call has its `index` (counted from 0), `id` and `name`.
        """

    def close(self) -> Iterable[ExtractorEvent]:
        """Return the events of what is held back. Called once, at the end of the response."""


@runtime_checkable
class Cuttable(Protocol):
    """An extractor whose `close` depends on why the response ends."""

    def cut(self) -> None:
        """Note that a limit ends the response. Called before the last `feed`."""


class PlainText:
    """The extractor of a model without a format: everything is content."""

    channel = CONTENT

    def feed(self, text: str, /) -> Iterable[ExtractorEvent]:
        return (Delta(CONTENT, text),) if text else ()

    def close(self) -> Iterable[ExtractorEvent]:
        return ()


def new_call_id() -> str:
    """Return a unique id, in the form that clients expect, for a tool call to which the model gave none."""
    return f"call_{uuid.uuid4().hex[:24]}"
