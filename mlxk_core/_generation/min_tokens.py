"""A minimum length: stop tokens that may not be drawn before a number of tokens."""

from __future__ import annotations

from mlxk_core._generation.constraint import TokenConstraint


class MinTokens:
    """`TokenConstraint` that excludes `stop_tokens` from the first `minimum` tokens, in addition to `inner`."""

    def __init__(
        self, inner: TokenConstraint | None, minimum: int, stop_tokens: frozenset[int], vocab_size: int
    ) -> None:
        self._inner = inner
        self._remaining = minimum
        self._stop_tokens = stop_tokens
        self._all_allowed = b"\xff" * ((vocab_size + 7) // 8)

    @property
    def complete(self) -> bool:
        return self._inner is not None and self._inner.complete

    def mask(self) -> bytes | None:
        allowed = None if self._inner is None else self._inner.mask()
        if self._remaining <= 0:
            return allowed
        masked = bytearray(self._all_allowed if allowed is None else allowed)
        for token in self._stop_tokens:
            if token // 8 < len(masked):
                masked[token // 8] &= ~(1 << token % 8)
        # If `inner` allows only stop tokens they stay allowed: otherwise no token could be drawn.
        return bytes(masked) if any(masked) else allowed

    def accept(self, token: int, /) -> None:
        self._remaining -= 1
        if self._inner is not None:
            self._inner.accept(token)
