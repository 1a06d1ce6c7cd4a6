"""Names of tensors: their depth, and the numbers in them.

mlx-lm makes a list for the names below each name, as long as the largest number there says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

_MOST_PLACES = 4
"""Of all lists together, for each tensor: a real model has one of each number in a name."""
_FEW = 1000
_MOST_PARTS = 24
"""Of a name, between its dots. Published ones have up to 11."""
_SHARE = 1 << 14
"""Names between two signs of life."""


def deep_name(names: Collection[str]) -> str | None:
    """Return a name with more parts than any real one, None if there is none."""
    return next((name for name in names if name.count(".") >= _MOST_PARTS), None)


def missing_numbers(names: Collection[str], alive: Callable[[], None] = lambda: None) -> str | None:
    """Return a name with a number that most of the smaller ones are missing for, None if there are enough. `alive` is
    called now and then. The time grows with the square of the parts of a name, so call `deep_name` before."""
    lengths: dict[str, int] = {}
    for count, name in enumerate(names):
        if count % _SHARE == _SHARE - 1:
            alive()
        parts = name.split(".")
        for index, part in enumerate(parts):
            if not part.isidentifier() and (number := _number(part)) is not None:
                place = ".".join(parts[:index])
                lengths[place] = max(lengths.get(place, 0), number + 1)
    if sum(lengths.values()) <= _MOST_PLACES * len(names) + _FEW:
        return None
    place = max(lengths, key=lengths.__getitem__)
    return f"{place}.{lengths[place] - 1}".lstrip(".")


def _number(part: str) -> int | None:
    """Return the number that `int` takes a part for, as mlx-lm does: also ` +1_000 `, and digits of other scripts."""
    try:
        return int(part)
    except ValueError:
        return None
