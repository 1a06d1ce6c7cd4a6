"""Checks of the types of a config against the fields that mlx-lm's class of its arguments declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from mlxk_core.api.text import shorten_middle

_LONGEST = 256
"""Items or characters. Python multiplies lists and texts by numbers: a factor times the length of a context would
become a list of billions. Some published configs have a list of their layers where mlx-lm declares a number."""
_LONGEST_NAME = 80
_MANY = ("list", "tuple", "str", "any")
_FACTORS = frozenset({"long_factor", "short_factor"})


def check_fields(arguments: Any, config: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a long list or text in a field of the class `arguments` that is declared as a number, or
    in settings of positions."""
    for field in fields(arguments) if is_dataclass(arguments) else ():
        if not any(word in str(field.type).lower() for word in _MANY):
            _check(field.name, config.get(field.name))
    _check_positions(config)


def _check(name: str, value: Any) -> None:
    if isinstance(value, list | str) and len(value) > _LONGEST:
        raise ValueError(
            f"{shorten_middle(name, _LONGEST_NAME)} has {len(value):,} items or characters, expected a number"
        )


def _check_positions(config: Mapping[str, Any], outer: str = "", *, inside: bool = False) -> None:
    """Check what `rope_scaling`, `rope_parameters` and others have, also those of parts of the config. `outer` is the
    name of the part."""
    for name, value in config.items():
        within = inside or name.startswith("rope")
        if isinstance(value, Mapping):
            _check_positions(value, name, inside=within)
        elif within and name not in _FACTORS and isinstance(value, list | str):
            _check(f"{shorten_middle(outer, _LONGEST_NAME)}.{name}" if outer else name, value)
