"""Constraints on a response, and the protocols that compile and enforce them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from mlxk_core._generation.grammar import Matches, Part

if TYPE_CHECKING:
    from mlxk_core._generation.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A requirement that the answer of a request must match.

    `kind` is the language of `value`: `json_schema` and `json_object` (True), `regex`, `choice` (a list of texts),
    `lark`, `gbnf`, or what another plugin compiles. `option` is the field or the command-line option it came from.
    """

    kind: str
    value: Any
    option: str = "constraint"

    @cached_property
    def part(self) -> Matches:
        """The constraint as a grammar part: the same object for all rows, so that compilers can keep what they find."""
        return Matches(self.kind, self.value)


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """The tokens that a constraint is compiled for.

    `markers` are the added tokens that mark structure, with their ids: ordinary text never contains them.
    `stop_tokens` end a response.
    """

    tokenizer: Tokenizer
    markers: Mapping[str, int]
    stop_tokens: frozenset[int]


class TokenConstraint(Protocol):
    """Which tokens one row may have next. Used on the engine thread: `mask` before a token is drawn, then `accept`.

    What either raises fails this row only.
    """

    @property
    def complete(self) -> bool:
        """Nothing can follow: the row ends with the token accepted last."""

    def mask(self) -> bytes | None:
        """One bit a token id, least significant bit first, set where the token may come next. None: any token."""

    def accept(self, token: int, /) -> None:
        """Take the token that was drawn. Raises `ConstraintFailure`."""


class ConstraintCompiler(Protocol):
    """Compiles constraints of one or more kinds. Used from any thread."""

    def check(self, grammar: Part, /) -> None:
        """Raise `InvalidConstraint` if the constraints in `grammar` are invalid or unsupported. Bounded in time."""

    def compile(self, grammar: Part, vocabulary: Vocabulary, /) -> TokenConstraint:
        """Return a fresh constraint for one row. Raises `InvalidConstraint`."""


class SlowConstraintCompiler(ConstraintCompiler, Protocol):
    """A compiler that takes longer than a tenth of a second for some constraints.

    For those it is called after its request was submitted, on a thread for such work, where clients have their turns.
    An error still ends the request before its response begins.
    """

    def may_take_long(self, grammar: Part, vocabulary: Vocabulary | None = None, /) -> bool:
        """Return whether `check` of `grammar`, or `compile` for `vocabulary`, may take longer than a tenth of a second.
        Cheap; False for what is known from before."""

    def check(self, grammar: Part, /, *, waiting: Callable[[], None] = lambda: None) -> None:
        """Like `ConstraintCompiler.check`. When it takes longer than a second, `waiting` is called ten times a second;
        what it raises ends the check. The next check does not begin before the first call."""

    def compile(
        self, grammar: Part, vocabulary: Vocabulary, /, *, waiting: Callable[[], None] = lambda: None
    ) -> TokenConstraint:
        """Like `ConstraintCompiler.compile`. `waiting` as in `check`."""
