"""Prompt cache: key-value caches of earlier prompts by token prefix, within a byte budget."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map
from numpy.typing import NDArray

from mlxk_mlx.loading.release import release_caches

Cache = list[Any]
Tokens = NDArray[np.int32]

_MIN_TOKENS = 16
"""Shorter prefixes are cheaper to recompute than to cache."""
_MOST_ENTRIES = 256
"""Each lookup compares the prompt with all entries: thousands would take a tenth of a second."""


@dataclass(eq=False, slots=True)
class _Entry:
    tokens: Tokens
    cache: Cache
    nbytes: int
    trimmable: bool
    shared: bool  # a checkpoint for later requests: always copied


class PromptCache:
    """Caches of earlier rows, least recently used first. `budget` is in bytes.

    A linear scan over some token arrays is faster than a tree of Python objects: mlx-lm's index takes 0.85 s
    for a 32k prompt that differs early.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._entries: list[_Entry] = []

    @property
    def nbytes(self) -> int:
        return sum(entry.nbytes for entry in self._entries)

    def fetch(self, prompt: Sequence[int]) -> tuple[Cache | None, int]:
        """Return the cache of the longest cached prefix of `prompt` and its length in tokens, or (None, 0).

        At least one prompt token is left to compute. An entry that the prompt continues is removed and returned; one
        that shares only its beginning stays, and a trimmed copy is returned (of array handles, not of data).
        """
        tokens = self._comparable(prompt)
        best, length = None, 0
        for entry in self._entries:
            usable = self._usable(entry, tokens)
            if usable > length or (best is not None and usable == length and len(entry.tokens) < len(best.tokens)):
                best, length = entry, usable
        if best is None or length < _MIN_TOKENS:
            return None, 0
        self._entries.remove(best)
        if length == len(best.tokens) and not best.shared:
            return best.cache, length
        self._entries.append(best)
        cache = copy.deepcopy(best.cache)
        for layer in cache:
            if length < len(best.tokens):
                layer.trim(len(best.tokens) - length)
        return cache, length

    def longest_shared_prefix(self, prompt: Sequence[int]) -> int:
        """Return the length of the longest prefix that `prompt` shares with any entry, usable or not."""
        tokens = self._comparable(prompt)
        return max((_shared_length(entry.tokens, tokens) for entry in self._entries), default=0)

    def insert(self, tokens: Sequence[int], cache: Cache, *, shared: bool = False) -> None:
        """Add `cache`, which holds `tokens`, and drop entries that it supersedes."""
        if len(tokens) < _MIN_TOKENS or not cache or self._budget <= 0:
            return
        if sum(layer.nbytes for layer in cache) > self._budget:
            return
        trimmable = all(layer.is_trimmable() for layer in cache)
        new = _Entry(np.array(tokens, np.int32), cache, 0, trimmable, shared)
        for entry in list(self._entries):
            prefix = _shared_length(entry.tokens, new.tokens)
            if prefix == len(new.tokens) and (entry.trimmable or prefix == len(entry.tokens)):
                self._entries.remove(entry)  # the existing entry covers the new one
                self._entries.append(entry)
                return
            if prefix == len(entry.tokens) and trimmable:
                self._entries.remove(entry)
                release_caches(entry.cache)
        _release_batch(cache)
        new.nbytes = sum(layer.nbytes for layer in cache)
        self._entries.append(new)
        while self.nbytes > self._budget or len(self._entries) > _MOST_ENTRIES:
            self._drop_oldest()

    def drop(self, size: int) -> int:
        """Drop the oldest entries that take `size` bytes or more together, or all. Return their bytes."""
        dropped = 0
        while self._entries and dropped < size:
            dropped += self._drop_oldest()
        return dropped

    def clear(self) -> None:
        while self._entries:
            self._drop_oldest()

    def _drop_oldest(self) -> int:
        entry = self._entries.pop(0)
        release_caches(entry.cache)
        return entry.nbytes

    def _comparable(self, prompt: Sequence[int]) -> Tokens:
        """Return the beginning of `prompt` that matters: one token more than the longest entry has. The rest of a long
        prompt is not converted, which takes a tenth of a second for three million tokens."""
        longest = max((len(entry.tokens) for entry in self._entries), default=0)
        return np.asarray(prompt[: longest + 1], np.int32)

    def _usable(self, entry: _Entry, tokens: Tokens) -> int:
        prefix = min(_shared_length(entry.tokens, tokens), len(tokens) - 1)
        return prefix if entry.trimmable or prefix == len(entry.tokens) else 0


def _release_batch(cache: Cache) -> None:
    """Give the arrays of `cache` buffers of their own.

    They are slices of the batch's arrays, shape [1, ...] of [rows, ...], and keep all of it in memory.
    """
    layers = [inner for layer in cache for inner in getattr(layer, "caches", [layer])]
    held = [layer for layer in layers if not layer.empty()]
    for layer in held:
        layer.state = tree_map(_own_buffer, layer.state)
    mx.eval([layer.state for layer in held])


def _own_buffer(value: Any) -> Any:
    return mx.contiguous(value) if isinstance(value, mx.array) else value


def _shared_length(a: Tokens, b: Tokens) -> int:
    length = min(len(a), len(b))
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length
