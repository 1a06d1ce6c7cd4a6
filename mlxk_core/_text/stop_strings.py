"""Stop strings in text that arrives in pieces: the first that is complete, and what may still become one."""

from __future__ import annotations

from array import array
from collections.abc import Iterable


class StopStrings:
    """A set of stop strings. A match does not depend on how the text was cut.

    The string that is complete first wins, so that generation stops at the earliest token; of several complete at the
    same character, the longest. (`Markers` waits for the leftmost.) Empty strings are ignored.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        self._strings = tuple(dict.fromkeys(filter(None, strings)))
        self.first = frozenset(string[0] for string in self._strings)
        """The characters that a stop string begins with."""

    def __bool__(self) -> bool:
        return bool(self._strings)

    def matcher(self) -> StopMatcher:
        """Return a new matcher, for one response."""
        return StopMatcher(self._strings, self.first)


class _Progress:
    """How much of one string the text so far ends with (Knuth-Morris-Pratt).

    Its table grows with what was matched: most of what clients send as stop strings is never generated.
    """

    __slots__ = ("_borders", "length", "string")

    def __init__(self, string: str) -> None:
        self.string = string
        self.length = 0
        self._borders = array("I", (0, 0))
        """For each length that was reached: that of the longest shorter text with which as much of `string` begins and
        ends."""

    def feed(self, text: str, end: int) -> int | None:
        """Read `text[:end]`. Return the position after the first place where the string is complete, or None."""
        string, length, borders = self.string, self.length, self._borders
        position = 0
        while position < end:
            if length == 0:
                position = text.find(string[0], position, end)
                if position < 0:
                    break
                length = 1
            else:
                while length and string[length] != text[position]:
                    length = borders[length]
                if string[length] == text[position]:
                    length += 1
                    if length == len(borders):
                        self._add_border()
            position += 1
            if length == len(string):
                return position
        self.length = length
        return None

    def _add_border(self) -> None:
        string, borders = self.string, self._borders
        last = string[len(borders) - 1]
        border = borders[-1]
        while border and string[border] != last:
            border = borders[border]
        borders.append(border + (string[border] == last))


class StopMatcher:
    """Finds a stop string in one response; holds back what may still become one."""

    def __init__(self, strings: Iterable[str], first: frozenset[str]) -> None:
        self._progress = [_Progress(string) for string in strings]
        self._first = first
        self._held = ""
        self.found: str | None = None
        """The stop string in the text so far."""

    def feed(self, text: str) -> str:
        """Return the text that can be shown now. After a match, nothing more."""
        if self.found is not None:
            return ""
        if not self._held and self._first.isdisjoint(text):
            return text  # the usual case: no stop string begins here
        end, found = len(text), ""
        for progress in self._progress:
            complete = progress.feed(text, end)
            if complete is not None and (complete < end or len(progress.string) > len(found)):
                end, found = complete, progress.string
        seen = self._held + text
        if found:
            seen = seen[: len(self._held) + end]
            self._held, self.found = "", found
            return seen.removesuffix(found)
        cut = len(seen) - max((progress.length for progress in self._progress), default=0)
        self._held = seen[cut:]
        return seen[:cut]

    def flush(self) -> str:
        """Return what was held back, since it is not a stop string. Matching starts over."""
        held, self._held = self._held, ""
        for progress in self._progress:
            progress.length = 0
        return held
