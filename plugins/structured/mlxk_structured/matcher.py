"""The constraint of one row, and the time and the memory that the steps of its grammar take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mlxk_core.api.errors import ConstraintFailure
from mlxk_structured.parser_memory import ParserShare
from mlxk_structured.token_order import TokenOrder

STEP_SECONDS = 0.005
"""CPU time of a step, on average: the rows of all requests wait for it. Ordinary grammars take a tenth of it."""
_MORE_SECONDS = 1.0
"""How much more the steps of all rows of a grammar may take, before those that take long fail."""
SLOW = "it is too complex: each of its tokens takes long"
_BYTES_A_SECOND = 512 << 20
"""What steps add to a lexer in a second of CPU time, at most: llguidance does not tell its size. Steps of ordinary
schemas add next to nothing, but those are compiled again in milliseconds."""
_REPORTED = 16 << 20
"""Growth in bytes that is reported."""


class StepTime:
    """The time that the steps of one grammar take, in all rows. An ambiguous one takes longer for each token."""

    def __init__(self) -> None:
        self._more = 0.0

    def add(self, seconds: float) -> None:
        """Count a part of a step. Raises `ConstraintFailure` if it took long, and those of late took too long."""
        more = seconds - STEP_SECONDS
        self._more = max(0.0, self._more + more)
        if more > 0 and self._more > _MORE_SECONDS:
            raise ConstraintFailure(f"The constraint cannot be followed: {SLOW}.")


class LexerMemory:
    """What the rows of one compiled grammar add to it: copies of a matcher share its lexer, with all states it had.

    `memory` is an upper bound, in bytes. `full` says that the lexer takes no further state: that fails all its rows.
    `grown` is called now and then when either has changed.
    """

    def __init__(self, grown: Callable[[], None]) -> None:
        self.memory = 0
        self.full = False
        self._reported = 0
        self._grown = grown

    def add(self, seconds: float) -> None:
        """Count a part of a step."""
        self.memory += int(seconds * _BYTES_A_SECOND)
        if self.memory - self._reported > _REPORTED:
            self._reported = self.memory
            self._grown()

    def fill(self) -> None:
        self.full = True
        self._grown()


class Matcher:
    """`TokenConstraint` on one llguidance matcher, whose numbers of the model's tokens are those of `order`."""

    def __init__(
        self, matcher: Any, order: TokenOrder, steps: StepTime, lexer: LexerMemory, share: ParserShare
    ) -> None:
        self._matcher = matcher
        self._order = order
        self._steps = steps
        self._lexer = lexer
        self._share = share

    @property
    def complete(self) -> bool:
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    def mask(self) -> bytes | None:
        begun = time.thread_time()
        mask: bytes = self._matcher.compute_bitmask()
        self._count(time.thread_time() - begun)
        if self._matcher.is_error():
            raise ConstraintFailure(f"The constraint is too complex: {reason_of(self._matcher.get_error())}.")
        return self._order.translated(mask)

    def accept(self, token: int, /) -> None:
        begun = time.thread_time()
        accepted = self._matcher.consume_token(self._order.number(token))
        seconds = time.thread_time() - begun
        self._count(seconds)
        self._share.add(seconds)
        if not accepted:
            raise ConstraintFailure(
                f"The constraint does not allow token {token}: {reason_of(self._matcher.get_error())}."
            )

    def _count(self, seconds: float) -> None:
        self._lexer.add(seconds)
        if self._matcher.is_error():
            self._lexer.fill()
        self._steps.add(seconds)


def reason_of(error: str) -> str:
    """llguidance's own words, without its internal state."""
    text = error.partition("\n")[0].rpartition("failed to compile JSON schema: ")[2].strip().rstrip(".")
    if not text or text.startswith(("NoExtension", "Unsatisfiable schema: anyOf is empty")):
        return "no text matches it"
    return text if len(text) <= 200 else f"{text[:197]}..."
