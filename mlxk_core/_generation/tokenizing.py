"""Bounds on tokenizing: how many threads do it at once, and how much of a long text is read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from mlxk_core._generation.malformed_result import WrongResult
from mlxk_core._generation.tokenizer import Tokenizer

LARGE = 1 << 16
"""Characters or tokens of work that may not use the slots of small requests: a megabyte takes seconds."""
_CHARACTERS_PER_TOKEN = 8
"""More than any ordinary text has."""
_PIECE = 1 << 14  # characters
_EDGES = 16  # tokens that the cut edges of a piece may add to its share of the whole text
_SPECIALS = 64  # tokens that a tokenizer may add around a text
_POLL_SECONDS = 0.1


class TokenizingSlots:
    """Limits the threads that tokenize at once: with dozens of busy threads, all others of the process are slow."""

    def __init__(self, count: int = 2) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._queue: deque[threading.Event] = deque()

    @contextmanager
    def hold(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold a slot during the `with` block; slots are given in order of arrival. `waiting` is called ten times a
        second until then."""
        turn = self._enter()
        try:
            while not turn.wait(_POLL_SECONDS):
                waiting()
            yield
        finally:
            self._leave(turn)

    def _enter(self) -> threading.Event:
        turn = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                turn.set()
            else:
                self._queue.append(turn)
        return turn

    def _leave(self, turn: threading.Event) -> None:
        with self._lock:
            if not turn.is_set():
                self._queue.remove(turn)
            elif self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1


class Excess(NamedTuple):
    """The beginning of a text that has too many tokens: at least `tokens`, in its first `characters`."""

    tokens: int
    characters: int


def find_excess(tokenizer: Tokenizer, text: str, limit: int | None) -> Excess | None:
    """Return a beginning of `text` with `limit` tokens or more; None if it has fewer, or is not much longer.

    The text is counted in pieces: to tokenize megabytes at once takes seconds and hundreds of megabytes, whether or
    not the result can be used. Raises `WrongResult` like `encode`.
    """
    if limit is None or len(text) <= limit * _CHARACTERS_PER_TOKEN:
        return None
    count = 0
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        count += max(0, len(encode(tokenizer, piece, add_special_tokens=False)) - _EDGES)
        if count >= limit:
            return Excess(count, start + len(piece))
    return None


def encode(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool) -> list[int]:
    """Return the token ids of `text`. Raises `WrongResult` if what the tokenizer returns cannot be that."""
    tokens = tokenizer.encode(text, add_special_tokens=add_special_tokens)
    if not isinstance(tokens, list):
        raise WrongResult(f"encode() returned {type(tokens).__name__}, not a list", tokenizer.encode)
    if len(tokens) > 4 * len(text) + _SPECIALS:  # a character has 4 bytes at most
        raise WrongResult(f"encode() returned {len(tokens)} tokens for {len(text)} characters", tokenizer.encode)
    return tokens
