"""The `config.json` of an encoder: its values, checked before a network of that size is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxk_core.api.errors import BrokenModel

_LARGEST_HIDDEN = 1 << 16
"""Numbers for each token between two layers; published models have up to 8,192."""

_MOST_HEADS = 1024
"""Of a layer; published encoders have up to 32. Each has a score for each two tokens."""


class ModelConfig:
    """The `config.json` of the model `name`.

    Each getter takes several keys, since configs of different generations name one value differently, and returns the
    value of the first key that has one, else `default`. It raises `BrokenModel` for a value of the wrong type or
    range, and if there is neither a value nor a default.
    """

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self._config = config
        self.name = name

    def count(self, *keys: str, default: int | None = None) -> int:
        """Return a whole number, 0 or more: a size or an id. A float such as 768.0 is accepted."""
        value = self._first(keys, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._error(keys, value, "a whole number")
        return value

    def hidden_size(self, *keys: str) -> int:
        """Return the numbers for each token between two layers: the length of the vectors."""
        size = self.count(*keys)
        if size > _LARGEST_HIDDEN:
            raise self._error(keys, size, f"at most {_LARGEST_HIDDEN:,}")
        return size

    def positive(self, *keys: str, default: float | None = None) -> float:
        """Return a number above 0, as a float."""
        value = self._first(keys, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise self._error(keys, value, "a positive number")
        return float(value)

    def fraction(self, *keys: str, default: float) -> float:
        """Return a number above 0 and at most 1."""
        value = self.positive(*keys, default=default)
        if value > 1:
            raise self._error(keys, value, "at most 1")
        return value

    def flag(self, *keys: str, default: bool) -> bool:
        """Return a boolean."""
        value = self._first(keys, default)
        if not isinstance(value, bool):
            raise self._error(keys, value, "true or false")
        return value

    def text(self, *keys: str, default: str) -> str:
        """Return a string."""
        value = self._first(keys, default)
        if not isinstance(value, str):
            raise self._error(keys, value, "a text")
        return value

    def raw(self, key: str) -> Any:
        """Return the unchecked value of `key`; None if it is missing."""
        return self._config.get(key)

    def heads(self, *keys: str, hidden: int) -> int:
        """Return the number of attention heads. `hidden`, the size of all heads, must split into even parts."""
        heads = self.count(*keys)
        if heads > _MOST_HEADS:
            raise self._error(keys, heads, f"at most {_MOST_HEADS:,}")
        if heads == 0 or hidden % heads or (hidden // heads) % 2:
            raise self._error(keys, heads, f"a number that divides {hidden} into even parts")
        return heads

    def _first(self, keys: tuple[str, ...], default: Any) -> Any:
        return next((self._config[key] for key in keys if self._config.get(key) is not None), default)

    def _error(self, keys: tuple[str, ...], value: object, expected: str) -> BrokenModel:
        return BrokenModel(
            f"config.json of `{self.name}`: {keys[0]} is {value!r}, expected {expected}.", model=self.name
        )
