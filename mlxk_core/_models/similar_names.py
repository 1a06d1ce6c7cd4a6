"""Names that a misspelled one may mean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

_SIMILAR = 0.8  # of SequenceMatcher: one letter in five may differ
_LONGEST = 256  # characters: the comparison is quadratic, and names come from clients
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def similar_name(reference: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that `reference` misspells, with or without its owner; None if there is none.

    Other numbers make another model, not a misspelling.
    """
    if len(reference) > _LONGEST:
        return None
    numbers = _NUMBER.findall(reference.rpartition("/")[2])
    ranked = sorted(((similarity(reference, name), name) for name in names), reverse=True)
    alike = [name for score, name in ranked if score >= _SIMILAR]
    return next((name for name in alike if _NUMBER.findall(name.rpartition("/")[2]) == numbers), None)


def similarity(reference: str, name: str) -> float:
    """Return how alike the names are, with or without the owner: 0 to 1."""
    typed = reference.casefold()
    return max(SequenceMatcher(None, typed, each.casefold()).ratio() for each in (name, name.rpartition("/")[2]))
