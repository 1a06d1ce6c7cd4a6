"""Finding markers in text that arrives in pieces, holding back no more than what may still become one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple


class Hit(NamedTuple):
    """The first thing of interest at or behind a position: a whole marker, or (`marker` None) what may become one."""

    start: int
    end: int
    marker: str | None


class Markers:
    """A set of markers that may come next.

    The leftmost wins, of two at one place the longest. A marker that may still begin further left, or grow longer, is
    waited for: only so does the result not depend on where the text was cut. One regular expression answers both
    questions, because a loop over markers and their prefixes costs more than all the rest of a step.
    """

    def __init__(self, markers: Iterable[str]) -> None:
        words = sorted({marker for marker in markers if marker}, key=len, reverse=True)
        whole = "|".join(re.escape(word) for word in words)
        begun = "|".join(pattern for word in words if (pattern := _prefixes(word)))
        growing = rf"(?P<begun>(?:{begun})\Z)|" if begun else ""
        never = r"(?!)"
        self._growing = re.compile(f"{growing}{whole or never}")
        self._final = re.compile(whole or never)

    def search(self, text: str, start: int, *, final: bool) -> Hit | None:
        """The first marker in `text` behind `start`; `final` says that no more text will come."""
        return _hit((self._final if final else self._growing).search(text, start))

    def match(self, text: str, start: int, *, final: bool) -> Hit | None:
        """A marker at `start` and nowhere else."""
        return _hit((self._final if final else self._growing).match(text, start))


@cache
def markers(*words: str) -> Markers:
    return Markers(words)


def _hit(found: re.Match[str] | None) -> Hit | None:
    if found is None:
        return None
    return Hit(found.start(), found.end(), None if found.lastgroup == "begun" else found.group())


def _prefixes(word: str) -> str:
    """A pattern for every proper, non-empty prefix of `word`: `abc` gives `a(?:b)?`."""
    pattern = ""
    for character in reversed(word[1:-1]):
        pattern = f"(?:{re.escape(character)}{pattern})?"
    return re.escape(word[0]) + pattern if len(word) > 1 else ""
