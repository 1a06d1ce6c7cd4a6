"""The text form of an answer, for pipes and files: reasoning and answer under headings, written as they arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mlxk_core.api.generation import Channel

_REASONING = "**[Reasoning]**\n\n"
_ANSWER = "\n\n---\n\n**[Answer]**\n\n"
_AGAIN = "\n\n"


class Writer(Protocol):
    """Shows one answer, in pieces of any size."""

    reasoned: bool
    """The model produced reasoning, shown or not."""

    @property
    def began(self) -> bool:
        """Whether anything was written yet."""

    def add(self, channel: Channel, text: str) -> None:
        """Add text of a channel."""

    def finish(self) -> None:
        """End the answer with a line end, if anything was written."""


class TextWriter:
    """Writes one answer; the result does not depend on how the text was split.

    A heading is written with the first visible character of its section. `hide_reasoning` leaves reasoning out.
    """

    def __init__(self, write: Callable[[str], None], *, hide_reasoning: bool = False) -> None:
        self._write = write
        self._hide_reasoning = hide_reasoning
        self._section: Channel | None = None
        self._pending = ""
        self._pending_channel: Channel | None = None
        self._last = "\n"
        self.reasoned = False

    @property
    def began(self) -> bool:
        return self._section is not None

    def add(self, channel: Channel, text: str) -> None:
        if channel is Channel.REASONING:
            self.reasoned = self.reasoned or bool(text.strip())
            if self._hide_reasoning:
                return
        if channel is not self._section:
            text = self._pending + text if self._pending_channel is channel else text
            self._pending, self._pending_channel = text, channel
            if not text.strip():
                return
            self._pending = ""
            self._open(channel)
            if channel is Channel.REASONING or self.reasoned:
                text = text.lstrip()
        if channel is Channel.REASONING:
            # White space is written with the text after it: at the end of the reasoning it is left out.
            text = self._pending + text
            body = text.rstrip()
            self._pending, self._pending_channel, text = text[len(body) :], channel, body
        self._out(text)

    def finish(self) -> None:
        if self._section is None and not self.reasoned:
            self._out(self._pending)
        if self._last != "\n":
            self._out("\n")

    def _open(self, channel: Channel) -> None:
        if channel is Channel.REASONING:
            self._out((_AGAIN if self._section else "") + _REASONING)
        elif self._section is Channel.REASONING:
            self._out(_ANSWER)
        self._section = channel

    def _out(self, text: str) -> None:
        if text:
            self._write(text)
            self._last = text[-1]
