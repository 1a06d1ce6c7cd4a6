"""How an answer looks: the reasoning under its heading, a rule, and the answer, written as they come."""

from __future__ import annotations

from collections.abc import Callable

from mlxk_core.api.generation import Channel

_REASONING = "**[Reasoning]**\n\n"
_ANSWER = "\n\n---\n\n**[Answer]**\n\n"
_AGAIN = "\n\n"
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_TAME = {**_PICTURES, ord("\r"): None, 0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}
"""Control characters as pictures of themselves: a text that a model repeats could command the terminal with them."""


class AnswerWriter:
    """Writes one answer. What it writes in all does not depend on how the text was cut.

    A heading appears with the first visible character behind it. `write` takes text as it is. `hide_reasoning` leaves
    reasoning out. For a terminal, `dim` sets it apart, and `tame` shows control characters instead of sending them.
    """

    def __init__(
        self, write: Callable[[str], None], *, hide_reasoning: bool = False, dim: bool = False, tame: bool = False
    ) -> None:
        self._write = write
        self._hide_reasoning = hide_reasoning
        self._dim = dim
        self._tame = tame
        self._section: Channel | None = None
        self._held = ""
        self._held_for: Channel | None = None
        self._last = "\n"
        self.reasoned = False
        """Some reasoning came, shown or not."""

    @property
    def began(self) -> bool:
        """Whether anything was written yet."""
        return self._section is not None

    def add(self, channel: Channel, text: str) -> None:
        """More text of a channel."""
        if self._tame:
            text = text.translate(_TAME)
        if channel is Channel.REASONING:
            self.reasoned = self.reasoned or bool(text.strip())
            if self._hide_reasoning:
                return
        if channel is not self._section:
            text = self._held + text if self._held_for is channel else text
            self._held, self._held_for = text, channel
            if not text.strip():
                return
            self._held = ""
            self._open(channel)
            if channel is Channel.REASONING or self.reasoned:
                text = text.lstrip()
        if channel is Channel.REASONING:
            # White space waits for what follows it: at the end of the reasoning it is nobody's.
            text = self._held + text
            body = text.rstrip()
            self._held, self._held_for, text = text[len(body) :], channel, body
        self._out(text, dim=self._dim and channel is Channel.REASONING)

    def finish(self) -> None:
        """Ends the answer with the end of a line, if anything was written."""
        if self._section is None and not self.reasoned:
            self._out(self._held)
        if self._last != "\n":
            self._out("\n")

    def _open(self, channel: Channel) -> None:
        if channel is Channel.REASONING:
            self._out((_AGAIN if self._section else "") + _REASONING)
        elif self._section is Channel.REASONING:
            self._out(_ANSWER)
        self._section = channel

    def _out(self, text: str, *, dim: bool = False) -> None:
        if text:
            self._write(f"{_DIM}{text}{_PLAIN}" if dim else text)
            self._last = text[-1]
