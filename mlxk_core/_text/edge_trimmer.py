"""White space at the edges of removed spans, in text that arrives in pieces."""

from __future__ import annotations


class EdgeTrimmer:
    """Removes the white space that only surrounded a removed span from the text of one channel.

    A removed span is a marker, a block of another channel or a tool call. White space next to one is dropped at the
    beginning and at the end of the text; between two stretches of text that of one side is kept. Methods return the
    text to emit, which may be empty. Nothing but white space is ever dropped or held back.
    """

    def __init__(self) -> None:
        self._held: list[str] = []  # white space that waits for what follows it; joined once, there may be megabytes
        self._last = ""  # the last character of the text so far
        self._started = False  # whether anything but white space was written
        self._removed = False  # whether a span was removed since the last such text
        self._keeps_lead = True
        self._separator = ""

    @property
    def started(self) -> bool:
        """Whether anything but white space was written."""
        return self._started

    @property
    def last(self) -> str:
        """The last character of the text so far, white space included; "" at the beginning."""
        return self._last

    @property
    def held(self) -> str:
        """White space that was written and not returned yet."""
        return "".join(self._held)

    def write(self, text: str, *, hold: bool = True) -> str:
        """Return the text to emit now. Without `hold`, trailing white space is emitted at once: no span may follow."""
        if self._removed:
            body = text.lstrip()
            lead = text[: len(text) - len(body)]
            if self._keeps_lead and lead:
                self._held.append(lead)
                self._last = lead[-1]
            if not body:
                return ""
            self._removed = False
            text = body
        body = text.rstrip() if hold or not self._started else text
        if not body:
            self._hold(text)
            self._last = text[-1:] or self._last
            return ""
        if not hold:
            body = text
        lead = self._separator + "".join(self._held)
        self._held.clear()
        self._hold(text[len(body) :])
        self._separator = ""
        self._started = True
        self._last = text[-1]
        return lead + body

    def remove(self) -> None:
        """Note that a span is removed here."""
        if not self._started:
            self._held.clear()
        self._keeps_lead = self._started and not self._held and not self._last.isspace()
        self._removed = True

    def separate(self, separator: str) -> None:
        """Begin another stretch: `separator` goes before its text, unless the text so far ends with it or is held."""
        needed = self._started and not self._held and self._last != separator[-1:]
        self._separator = separator if needed else ""

    def close(self) -> str:
        """Return what is still held back. White space before a removed span at the end of the text is dropped."""
        held = "".join(self._held)
        self._held.clear()
        return "" if self._removed else held

    def _hold(self, text: str) -> None:
        if text:
            self._held.append(text)
