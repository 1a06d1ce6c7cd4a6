"""The tokens of a vocabulary in the order of their texts, in which llguidance reads them in less than half the time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache, partial
from heapq import merge
from typing import Any

import numpy as np

_SORTED = 1 << 16
"""Texts that are sorted in one call, with the interpreter locked."""
_KEPT_MASKS = 32
"""Masks with their translations, 64 kB each: those inside a string are nearly all equal."""


def in_order(texts: Sequence[bytes], tokens: Sequence[int]) -> Iterator[int]:
    """Yield `tokens` by their text, and those with the same text by their number."""
    parts = (tokens[start : start + _SORTED] for start in range(0, len(tokens), _SORTED))
    return merge(*(sorted(part, key=texts.__getitem__) for part in parts), key=texts.__getitem__)


class TokenOrder:
    """Numbers the tokens of a model by their `texts`, for llguidance. Those that are `fixed` keep their number.

    llguidance sorts the tokens, and reads them in that order again and again. Where their numbers follow it, they lie
    side by side in memory.
    """

    def __init__(self, texts: Sequence[bytes], fixed: Collection[int]) -> None:
        free = [token for token in range(len(texts)) if token not in fixed]
        numbers = np.arange((len(texts) + 31) // 32 * 32)  # a mask ends with a word
        numbers[list(in_order(texts, free))] = free
        self._numbers = numbers
        self.texts = [b""] * len(texts)
        """By llguidance's numbers."""
        for number, text in zip(numbers.tolist(), texts, strict=False):
            self.texts[number] = text
        self._translated = lru_cache(_KEPT_MASKS)(partial(_translated, numbers))

    def number(self, token: int) -> int:
        """Return llguidance's number of a token of the model, `token` itself if it has none."""
        return int(self._numbers[token]) if 0 <= token < len(self._numbers) else token

    def translated(self, mask: bytes) -> bytes:
        """Return the mask of the model's tokens that stands for one of llguidance's, one bit each."""
        return self._translated(mask)


def _translated(numbers: np.ndarray[Any, np.dtype[np.intp]], mask: bytes) -> bytes:
    bits = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")
    return np.packbits(bits.take(numbers), bitorder="little").tobytes()
