"""What the name of a model may mean: a full name, or a part of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence

from mlxk_core._models.references import short_name

_SEPARATORS = re.compile(r"[-_/\s]+")


def may_mean(name: str, listed: Collection[str]) -> bool:
    """Return whether `name`, without revision and variant, may mean one of the `listed` names."""
    return any(means(full) for means in readings(name) for full in listed)


def readings(name: str) -> Sequence[Callable[[str], bool]]:
    """Return the ways to read `name`, the strictest first: each says whether it may mean a full name."""
    folded = name.casefold()
    tokens = _tokens(name)
    return (
        lambda full: full == name,
        lambda full: short_name(full) == name,
        lambda full: folded in (full.casefold(), short_name(full).casefold()),
        lambda full: full.casefold().rpartition("/")[2] == folded,
        lambda full: bool(folded) and folded in full.casefold(),
        lambda full: len(tokens) > 1 and _in_order(tokens, _tokens(full)),
    )


def _tokens(name: str) -> list[str]:
    return [token for token in _SEPARATORS.split(name.casefold()) if token]


def _in_order(tokens: Iterable[str], of: Iterable[str]) -> bool:
    rest = iter(of)
    return all(token in rest for token in tokens)
