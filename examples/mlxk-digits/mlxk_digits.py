"""A constraint: an answer of exactly so many digits."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import ConstraintSpec, hookimpl
from mlxk_core.api.errors import InvalidConstraint
from mlxk_core.api.generation import Matches, Part, Vocabulary

__version__ = "0.1.0"

_MOST = 64


# --8<-- [start:compiler]
@hookimpl
def mlxk_constraints() -> Iterable[ConstraintSpec]:
    yield ConstraintSpec(kind="digits", target="mlxk_digits:Digits")


class Digits:
    """The compiler: `check` when the request arrives, `compile` when its model is loaded."""

    def check(self, grammar: Part, /) -> None:
        value = grammar.value if isinstance(grammar, Matches) else None
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
            raise InvalidConstraint("digits", f"must be a number from 1 to {_MOST}")

    def compile(self, grammar: Part, vocabulary: Vocabulary, /) -> Row:
        assert isinstance(grammar, Matches)
        tokens = [vocabulary.tokenizer.token_id(digit) for digit in "0123456789"]
        if None in tokens:
            raise InvalidConstraint("digits", "a digit is not one token of this model")
        return Row(_mask([token for token in tokens if token is not None]), int(grammar.value))


def _mask(tokens: list[int]) -> bytes:
    """One bit a token id, least significant bit first."""
    mask = bytearray(max(tokens) // 8 + 1)
    for token in tokens:
        mask[token // 8] |= 1 << token % 8
    return bytes(mask)


# --8<-- [end:compiler]


# --8<-- [start:row]
class Row:
    """The constraint of one answer, used on the engine thread: no file, no lock, microseconds."""

    def __init__(self, mask: bytes, count: int) -> None:
        self._mask = mask
        self._left = count

    @property
    def complete(self) -> bool:
        return self._left == 0

    def mask(self) -> bytes:
        return self._mask

    def accept(self, token: int, /) -> None:
        self._left -= 1


# --8<-- [end:row]
