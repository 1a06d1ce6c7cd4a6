"""What a reasoning format provides: a stream parser that splits one answer into reasoning, content and tool calls."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mlxk_core._generation.events import Channel, Delta, ExtractorEvent
from mlxk_core._generation.request import Tool

if TYPE_CHECKING:
    from mlxk_core._models.model import Model


@dataclass(frozen=True, kw_only=True)
class ExtractorContext:
    """What an extractor may know about the one response it is made for.

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

    No text is lost, no marker of the format is passed on, nothing raises. `channel` is where text fed next would go,
    None while a marker or a header is still incomplete; inside a tool call and between messages it is CONTENT, since
    tokens spent there are not spent on reasoning.
    """

    @property
    def channel(self) -> Channel | None: ...

    def feed(self, text: str, /) -> Iterable[ExtractorEvent]: ...

    def close(self) -> Iterable[ExtractorEvent]:
        """What is still held back. Called once, at the end."""


class PlainText:
    """The extractor of a model without a format: everything is content."""

    channel = Channel.CONTENT

    def feed(self, text: str, /) -> Iterable[ExtractorEvent]:
        if text:
            yield Delta(Channel.CONTENT, text)

    def close(self) -> Iterable[ExtractorEvent]:
        return ()


def new_call_id() -> str:
    """Return the id of a tool call that the model gave none: unique, and in the form that clients know."""
    return f"call_{uuid.uuid4().hex[:24]}"
