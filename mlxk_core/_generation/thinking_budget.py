"""Thinking budgets: after a number of reasoning tokens, the model's own end marker is forced."""

from __future__ import annotations

from collections.abc import Sequence

from mlxk_core._generation.constraint import TokenConstraint
from mlxk_core._generation.events import Channel
from mlxk_core._generation.extractor import Extractor
from mlxk_core._generation.tokenizer import Tokenizer

_LONGEST_TOKEN = 256
"""Characters of a token that are looked at: real ones have fewer, and this is done between two steps of all models."""
_MAX_DELAY = 8
"""Tokens by which the end marker may be delayed, where a character must be completed first."""


class ThinkingBudget:
    """`TokenConstraint` that forces the tokens `end` after `budget` reasoning tokens, in addition to `inner`.

    `extractor` parses the model's format, for this row only: it tells which tokens are reasoning. A budget counts
    all reasoning of a response; when it is used up, every further block ends at once.
    """

    def __init__(
        self,
        budget: int,
        end: Sequence[int],
        tokenizer: Tokenizer,
        extractor: Extractor,
        inner: TokenConstraint | None,
    ) -> None:
        self._left = budget
        self._end = list(end)
        self._forced: list[int] = []
        self._delay_left = _MAX_DELAY
        self._size = (tokenizer.vocab_size + 7) // 8
        self._detokenizer = tokenizer.detokenizer()
        self._extractor = extractor
        self._inner = inner
        self._reasons = extractor.channel is Channel.REASONING
        self._ended = False

    @property
    def complete(self) -> bool:
        return self._inner is not None and self._inner.complete

    def mask(self) -> bytes | None:
        inner = self._inner.mask() if self._inner is not None else None
        if self._reasons and self._left <= 0 and not self._forced and not self._ended:
            self._forced = list(self._end)
        if not self._forced:
            return inner
        token = self._forced[0]
        if inner is not None and not inner[token // 8] >> token % 8 & 1:
            # For example, a character is incomplete: the grammar allows the marker a few tokens later.
            if self._delay_left and len(self._forced) == len(self._end):
                self._delay_left -= 1
                return inner
            self._forced.clear()
            self._ended = True
            return inner
        only = bytearray(self._size)
        only[token // 8] = 1 << token % 8
        return bytes(only)

    def accept(self, token: int, /) -> None:
        if self._inner is not None:
            self._inner.accept(token)
        if self._forced and token == self._forced[0]:
            del self._forced[0]
        reasoned = self._reasons
        for _ in self._extractor.feed(self._detokenizer.add(token)[:_LONGEST_TOKEN]):
            pass
        channel = self._extractor.channel
        if channel is not None:
            self._reasons = channel is Channel.REASONING
            if not self._reasons:
                self._delay_left, self._ended = _MAX_DELAY, False
        if reasoned or self._reasons:
            self._left -= 1
