"""Typed sections of the settings file."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal, TypeVar

from mlxk_core._text.units import parse_duration

T = TypeVar("T")
Form = Literal["plain", "duration", "file"]
_METADATA = "mlxk_core.setting"
_LARGEST = 1 << 63
"""Not even a float holds every whole number that TOML can write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the value of a setting may be, and its help; see `setting`."""

    help: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    form: Form = "plain"

    @property
    def bounds(self) -> str:
        """The numbers allowed, as `at least 1` or `from 0 to 1`; empty without bounds."""
        low = f"above {self.above:g}" if self.above is not None else f"at least {self.least or 0:g}"
        if self.most is None:
            return low if self.least is not None or self.above is not None else ""
        if self.above is not None:
            return f"{low} and at most {self.most:g}"
        return f"at most {self.most:g}" if self.least is None else f"from {self.least:g} to {self.most:g}"

    def in_bounds(self, value: float) -> bool:
        """Return whether a number is finite and within the bounds."""
        # Written this way round, NaN is out of bounds too.
        low = (self.least is None or value >= self.least) and (self.above is None or value > self.above)
        return low and (self.most is None or value <= self.most) and abs(value) < math.inf


def setting(
    help: str,
    *,
    default: Any = None,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    choices: Iterable[str] = (),
    form: Form = "plain",
) -> Any:
    """Return a dataclass field for one setting.

    `least` (inclusive), `above` (exclusive) and `most` (inclusive) bound a number, `choices` are the texts allowed. A
    `float` of the form `duration` is in seconds, and in the file `90`, `"15m"` or `"never"` (infinity). A `str` of the
    form `file` is an absolute path, and in the file relative to the folder of the settings file.
    """
    rules = Rules(help=help, least=least, above=above, most=most, choices=tuple(choices), form=form)
    return field(default=default, metadata={_METADATA: rules})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Settings of one model, or of all in `[defaults]`; None leaves the value to the next source."""

    temperature: float | None = setting("0 always picks the most likely token.", least=0, most=1000)
    top_p: float | None = setting("Sample from the smallest set of tokens with this probability.", above=0, most=1)
    top_k: int | None = setting("Sample from the K most likely tokens (0: all).", least=0)
    min_p: float | None = setting("Ignore tokens below this fraction of the top probability.", least=0, most=1)
    repetition_penalty: float | None = setting("Above 1 discourages repetition.", least=0.001, most=1000)
    presence_penalty: float | None = setting("Above 0 discourages tokens that were used.", least=-2, most=2)
    frequency_penalty: float | None = setting("Above 0 discourages tokens that were used often.", least=-2, most=2)
    max_tokens: int | None = setting("Maximum number of tokens of an answer.", least=1)
    context_length: int | None = setting("Use at most this many tokens of the context.", least=16)
    system: str | None = setting("System prompt of a conversation that has none.")
    stop: tuple[str, ...] | None = setting("Texts that end an answer.")
    thinking: bool | None = setting("Reasoning on or off, for models with a switch.")
    reasoning_effort: str | None = setting("How much the model reasons, for models with levels: low, medium, high.")
    thinking_budget: int | None = setting("End the reasoning after this many tokens.", least=0)
    reasoning_format: str | None = setting("How the model marks reasoning; none shows the raw output.")
    chat_template: str | None = setting("A Jinja file to use instead of the model's chat template.", form="file")
    backend: str | None = setting("The backend that runs the model.")
    ttl: float | None = setting('Unload the model after this idle time ("15m", "never").', form="duration")

    def merged(self, base: ModelSettings) -> ModelSettings:
        """Return these settings, completed by `base`."""
        own = {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}
        return replace(base, **own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field(Rules):
    """One key of a section: its type and default, and the rules for its value. `listed` means a list of that type."""

    name: str
    type: type[Any]
    listed: bool = False
    default: Any = None

    def parse(self, value: Any) -> Any:
        """Return a TOML value as the field's type. Raises `ValueError` that says what is allowed."""
        if self.listed:
            items = [value] if isinstance(value, str) else value
            if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
                raise ValueError('it must be a list of texts, for example ["END"]')
            return tuple(items)
        if self.type in (int, float) and isinstance(value, int) and abs(value) >= _LARGEST:
            raise ValueError("it must be a smaller number")
        if self.form == "duration":
            return parse_duration(value)
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.type) or (isinstance(value, bool) and self.type is not bool):
            raise ValueError(f"it must be {_KINDS[self.type]}")
        if self.choices and value not in self.choices:
            raise ValueError(f"it must be {' or '.join(self.choices)}")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not self.in_bounds(value):
            raise ValueError(f"it must be {self.bounds or 'a finite number'}")
        return value


_KINDS: Mapping[type[Any], str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


@cache  # a file may have thousands of sections of one type
def fields_of(section: type[Any]) -> Mapping[str, Field]:
    """Return the keys of a section by name. Raises `TypeError` for anything that is not a section: a frozen dataclass
    whose fields have a type and a default that the file can state."""
    parameters = getattr(section, "__dataclass_params__", None)
    if not isinstance(section, type) or parameters is None or not parameters.frozen:
        name = section.__qualname__ if isinstance(section, type) else repr(section)
        raise TypeError(f"{name} is not a frozen dataclass of settings")
    hints = typing.get_type_hints(section)
    return {each.name: _field_of(section, each, hints[each.name]) for each in fields(section)}


def _field_of(section: type[Any], declared: dataclasses.Field[Any], hint: Any) -> Field:
    where = f"{section.__name__}.{declared.name}"
    hint, optional = _without_none(hint)
    listed = hint == tuple[str, ...]
    if not listed and hint not in _KINDS:
        raise TypeError(f"{where}: {hint} cannot be a setting")
    if declared.default is MISSING:
        raise TypeError(f"{where} has no default")
    if not _fits(declared.default, hint, listed=listed, optional=optional):
        kind = f"{'tuple[str, ...]' if listed else hint.__name__}{' | None' if optional else ''}"
        raise TypeError(f"{where}: the default {declared.default!r} is not {kind}")
    rules = declared.metadata.get(_METADATA, Rules())
    if (rules.form == "duration" and hint is not float) or (rules.form == "file" and hint is not str):
        raise TypeError(f"{where}: a {rules.form} cannot be {hint}")
    type_ = str if listed else hint
    return Field(name=declared.name, type=type_, listed=listed, default=declared.default, **asdict(rules))


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return the type without `| None`, and whether None is allowed."""
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint, False
    options = typing.get_args(hint)
    others = [option for option in options if option is not type(None)]
    return others[0] if len(others) == 1 else hint, type(None) in options


def _fits(default: object, hint: Any, *, listed: bool, optional: bool) -> bool:
    """Return whether the default of a field is a value of its type; an `int` is a `float` too."""
    if default is None:
        return optional
    if listed:
        return isinstance(default, tuple) and all(isinstance(item, str) for item in default)
    if isinstance(default, bool) or hint is bool:
        return isinstance(default, bool) and hint is bool
    return isinstance(default, (int, float) if hint is float else hint)
