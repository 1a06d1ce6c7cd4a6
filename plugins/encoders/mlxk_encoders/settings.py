"""Values of a `config.json`, checked before a network of that size is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxk_core.api.errors import BrokenModel


class Settings:
    """The config of one model. Each getter tries several names, for configs of different generations.

    A value of the wrong type, or none where one is needed, raises `BrokenModel`.
    """

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self._config = config
        self.name = name

    def integer(self, *keys: str, default: int | None = None) -> int:
        """Return a number of 0 or more."""
        value = self._first(keys, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._error(keys, value, "a whole number")
        return value

    def number(self, *keys: str, default: float | None = None) -> float:
        """Return a positive number."""
        value = self._first(keys, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise self._error(keys, value, "a positive number")
        return float(value)

    def fraction(self, *keys: str, default: float) -> float:
        """Return a positive number of 1 or less."""
        value = self.number(*keys, default=default)
        if value > 1:
            raise self._error(keys, value, "at most 1")
        return value

    def flag(self, *keys: str, default: bool) -> bool:
        """Return a switch."""
        value = self._first(keys, default)
        if not isinstance(value, bool):
            raise self._error(keys, value, "true or false")
        return value

    def text(self, *keys: str, default: str) -> str:
        """Return a text."""
        value = self._first(keys, default)
        if not isinstance(value, str):
            raise self._error(keys, value, "a text")
        return value

    def raw(self, key: str) -> Any:
        """Return the value of `key` as it is, None without one."""
        return self._config.get(key)

    def heads(self, *keys: str, hidden: int) -> int:
        """Return the number of attention heads, which divides `hidden`."""
        heads = self.integer(*keys)
        if heads == 0 or hidden % heads or (hidden // heads) % 2:
            raise self._error(keys, heads, f"a number that divides {hidden} into even parts")
        return heads

    def _first(self, keys: tuple[str, ...], default: Any) -> Any:
        return next((self._config[key] for key in keys if self._config.get(key) is not None), default)

    def _error(self, keys: tuple[str, ...], value: object, expected: str) -> BrokenModel:
        return BrokenModel(
            f"config.json of `{self.name}`: {keys[0]} is {value!r}, expected {expected}.", model=self.name
        )
