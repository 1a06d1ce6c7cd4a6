"""Checks of the types of a config against the fields that mlx-lm's class of its arguments declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

_LONGEST = 256
"""Items or characters. Python multiplies lists and texts by numbers: a factor times the length of a context would
become a list of billions. Some published configs have a list of their layers where mlx-lm declares a number."""
_MANY = ("list", "tuple", "str", "any")
_FACTORS = frozenset({"long_factor", "short_factor"})


def check_fields(arguments: Any, config: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a long list or text in a field of the class `arguments` that is declared as a number, or
    in settings of positions."""
    for field in fields(arguments) if is_dataclass(arguments) else ():
        if not any(word in str(field.type).lower() for word in _MANY):
            _check(field.name, config.get(field.name))
    for place, value in _position_settings(config, ""):
        _check(place, value)


def _check(place: str, value: Any) -> None:
    if isinstance(value, list | str) and len(value) > _LONGEST:
        raise ValueError(f"{place} has {len(value):,} items or characters, expected a number")


def _position_settings(config: Mapping[str, Any], place: str, *, inside: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield what `rope_scaling`, `rope_parameters` and others have, also those of parts of the config, each with its
    place."""
    for name, value in config.items():
        within = inside or name.startswith("rope")
        if isinstance(value, Mapping):
            yield from _position_settings(value, f"{place}{name}.", inside=within)
        elif within and name not in _FACTORS:
            yield f"{place}{name}", value
