"""Numbers in the names of tensors. mlx-lm makes a list for those below each name, as long as the largest one says."""

from __future__ import annotations

from collections.abc import Collection

_MOST_PLACES = 4
"""Of all lists together, for each tensor: a real model has one of each number in a name."""
_FEW = 1000


def missing_numbers(names: Collection[str]) -> str | None:
    """Return a name with a number that most of the smaller ones are missing for, None if there are enough."""
    lengths: dict[str, int] = {}
    for name in names:
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
