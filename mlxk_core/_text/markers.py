"""Markers in text that arrives in pieces, with a bounded hold-back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

_LONGEST_NESTED = 60  # characters; `re` compiles nested groups recursively and gives up at a few hundred


class MarkerMatch(NamedTuple):
    """The first marker in a text. `marker` is None for the end of the text that may still become one."""

    start: int
    end: int
    marker: str | None


class Piece(NamedTuple):
    """Text that came out of a `MarkerScanner`: a whole marker, or text between markers."""

    text: str
    is_marker: bool


class Markers:
    """A set of markers to search for. Build it once: it compiles a regular expression.

    The leftmost marker wins; of several that begin at one place, the longest. A marker that may still begin further
    left or grow longer is waited for, so that the result does not depend on where the text was cut.
    """

    def __init__(self, markers: Iterable[str]) -> None:
        # One expression finds whole markers and unfinished ones: a loop over markers and prefixes in Python costs more
        # than the rest of a step.
        words = sorted({marker for marker in markers if marker}, key=len, reverse=True)
        self.longest = len(words[0]) if words else 0
        """The length of the longest marker, in characters. No more than one character less is ever held back."""
        whole = "|".join(re.escape(word) for word in words) or r"(?!)"
        begun = "|".join(pattern for word in words if (pattern := _prefixes(word)))
        growing = rf"(?P<begun>(?:{begun})\Z)|" if begun else ""
        self._growing = re.compile(f"{growing}{whole}", re.DOTALL)
        self._final = re.compile(whole, re.DOTALL)

    def search(self, text: str, start: int = 0, *, final: bool = False) -> MarkerMatch | None:
        """Return the first marker in `text` at or after `start`. `final` says that no more text will come."""
        return _match((self._final if final else self._growing).search(text, start))

    def match(self, text: str, start: int = 0, *, final: bool = False) -> MarkerMatch | None:
        """Return the marker that begins at `start`, if one does."""
        return _match((self._final if final else self._growing).match(text, start))


@lru_cache(maxsize=512)
def markers(*words: str) -> Markers:
    """Return `Markers(words)`, built once for the same words."""
    return Markers(words)


class MarkerScanner:
    """Cuts one stream of text into markers and the text between them.

    The joined pieces do not depend on where the text was cut. Which markers count may change with each one found:
    assign `markers` while iterating over `feed`, and the text after the marker is searched for the new ones.
    """

    def __init__(self, *words: str) -> None:
        self.markers = markers(*words)
        self._held = ""

    @property
    def held(self) -> str:
        """The end of the text so far, which may be the beginning of a marker."""
        return self._held

    def feed(self, text: str) -> Iterator[Piece]:
        """Yield the pieces that `text` completes. Iterate to the end before the next call."""
        yield from self._scan(self._held + text, final=False)

    def close(self) -> Iterator[Piece]:
        """Yield what was held back. No more text will come."""
        yield from self._scan(self._held, final=True)

    def _scan(self, text: str, *, final: bool) -> Iterator[Piece]:
        self._held = ""
        at = 0
        while at < len(text):
            found = self.markers.search(text, at, final=final)
            end = found.start if found else len(text)
            if found and found.marker is None:
                self._held = text[end:]
            if end > at:
                yield Piece(text[at:end], is_marker=False)
            if found is None or found.marker is None:
                return
            at = found.end
            yield Piece(found.marker, is_marker=True)


def _match(found: re.Match[str] | None) -> MarkerMatch | None:
    if found is None:
        return None
    return MarkerMatch(found.start(), found.end(), None if found.lastgroup == "begun" else found.group())


def _prefixes(word: str) -> str:
    """Return a pattern for every proper, non-empty prefix of `word`: `abc` gives `a(?:b)?`."""
    if len(word) > _LONGEST_NESTED:
        return "|".join(re.escape(word[:length]) for length in range(len(word) - 1, 0, -1))
    pattern = ""
    for character in reversed(word[1:-1]):
        pattern = f"(?:{re.escape(character)}{pattern})?"
    return re.escape(word[0]) + pattern if len(word) > 1 else ""
