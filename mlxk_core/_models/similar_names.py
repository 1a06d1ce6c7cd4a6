"""Names that a misspelled one may mean."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher

_SIMILAR = 0.8  # of SequenceMatcher: one letter in five may differ
_LONGEST = 256  # characters: the comparison is quadratic, and names come from clients
_COMPARED = 100
"""Names that are compared, those with the most letters in common: there may be thousands, and each takes 0.2 ms."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def similar_name(reference: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that `reference` misspells, with or without its owner; None if there is none.

    Other numbers make another model, not a misspelling.
    """
    if len(reference) > _LONGEST:
        return None
    numbers = _NUMBER.findall(reference.rpartition("/")[2])
    letters = Counter(reference.casefold())
    possible = ((most, name) for name in names if (most := _most_similar(letters, name)) >= _SIMILAR)
    likely = (name for _, name in heapq.nlargest(_COMPARED, possible))
    ranked = sorted(((similarity(reference, name), name) for name in likely), reverse=True)
    alike = [name for score, name in ranked if score >= _SIMILAR]
    return next((name for name in alike if _NUMBER.findall(name.rpartition("/")[2]) == numbers), None)


def similarity(reference: str, name: str) -> float:
    """Return how alike the names are, with or without the owner: 0 to 1."""
    typed = reference.casefold()
    return max(SequenceMatcher(None, typed, each).ratio() for each in _forms(name))


def _most_similar(letters: Counter[str], name: str) -> float:
    """Return what the `similarity` of a name with these `letters` is at most, whatever their order."""
    return max(_share(letters, each) for each in _forms(name))


def _share(letters: Counter[str], name: str) -> float:
    total = letters.total() + len(name)
    return 2 * (letters & Counter(name)).total() / total if total else 1.0


def _forms(name: str) -> tuple[str, str]:
    """Return a name with and without its owner."""
    whole = name.casefold()
    return whole, whole.rpartition("/")[2]
