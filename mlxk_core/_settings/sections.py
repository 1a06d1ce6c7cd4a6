"""Typed sections of the settings file."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

T = TypeVar("T")
_HELP, _LEAST, _MOST = "help", "least", "most"


def setting(help: str, *, default: Any = None, least: float | None = None, most: float | None = None) -> Any:
    """Return a dataclass field for one setting. `least` and `most` bound a number."""
    return field(default=default, metadata={_HELP: help, _LEAST: least, _MOST: most})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Settings of one model, or of all in `[defaults]`; None leaves the choice to what comes after."""

    temperature: float | None = setting("0 always picks the most likely token.", least=0)
    top_p: float | None = setting("Nucleus sampling.", least=0, most=1)
    top_k: int | None = setting("Sample from the K most likely tokens (0: all).", least=0)
    min_p: float | None = setting("Ignore tokens below this fraction of the top probability.", least=0, most=1)
    repetition_penalty: float | None = setting("Above 1 discourages repetition.", least=0.01)
    max_tokens: int | None = setting("Maximum number of tokens of an answer.", least=1)
    context_length: int | None = setting("Use at most this many tokens of the context.", least=16)
    system: str | None = setting("System prompt of a conversation that has none.")
    stop: tuple[str, ...] = setting("Texts that end an answer.", default=())
    thinking: bool | None = setting("Reasoning on or off, for models with a switch.")
    reasoning_format: str | None = setting("How the model marks reasoning.")
    backend: str | None = setting("The backend that runs the model.")

    def merged(self, base: ModelSettings) -> ModelSettings:
        """Return these settings, completed by `base`."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return ModelSettings(
            **{name: getattr(base, name) if value in (None, ()) else value for name, value in values.items()}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One key of a section: the type of its value, its bounds and its help."""

    name: str
    type: type[Any]
    listed: bool
    help: str
    least: float | None
    most: float | None
    default: Any

    def parse(self, value: Any) -> Any:
        """Return a TOML value as the field's type. Raises `ValueError` that says what is allowed."""
        if self.listed:
            items = [value] if isinstance(value, str) else value
            if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
                raise ValueError('it must be a list of texts, for example ["END"]')
            return tuple(items)
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.type) or (isinstance(value, bool) and self.type is not bool):
            raise ValueError(f"it must be {_KINDS[self.type]}")
        low, high = self.least, self.most
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Written this way round, NaN is out of bounds too.
        if number and not ((low is None or value >= low) and (high is None or value <= high) and abs(value) < math.inf):
            bounds = f"at least {low or 0:g}" if high is None else f"from {low or 0:g} to {high:g}"
            raise ValueError(f"it must be {bounds}")
        return value


_KINDS: Mapping[type[Any], str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


def fields_of(section: type[Any]) -> Mapping[str, Field]:
    """Return the keys of a section by name. Raises `TypeError` for a dataclass that is not a section."""
    hints = typing.get_type_hints(section)
    found = {}
    for each in fields(section):
        hint = hints[each.name]
        listed = hint == tuple[str, ...]
        if isinstance(hint, types.UnionType):
            hint = next(option for option in typing.get_args(hint) if option is not type(None))
        if not listed and hint not in _KINDS:
            raise TypeError(f"{section.__name__}.{each.name}: {hint} cannot be a setting")
        if each.default is MISSING:
            raise TypeError(f"{section.__name__}.{each.name} has no default")
        found[each.name] = Field(
            name=each.name,
            type=str if listed else hint,
            listed=listed,
            help=each.metadata.get(_HELP, ""),
            least=each.metadata.get(_LEAST),
            most=each.metadata.get(_MOST),
            default=each.default,
        )
    return found
