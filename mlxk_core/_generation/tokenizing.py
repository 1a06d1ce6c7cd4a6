"""Bounds on tokenizing: which work is large, and how much of a long text is read."""

from __future__ import annotations

from typing import NamedTuple

from mlxk_core._generation.malformed_result import WrongResult
from mlxk_core._generation.tokenizer import Tokenizer

LARGE, VERY_LARGE = 1 << 16, 1 << 20
"""Characters or tokens of work that may not use the slots of smaller requests: a megabyte takes seconds."""
_CHARACTERS_PER_TOKEN = 8
"""More than any ordinary text has."""
_PIECE = 1 << 14  # characters
_EDGES = 16  # tokens that the cut edges of a piece may add to its share of the whole text
_TOKENS_PER_CHARACTER = 33  # bytes of the character that NFKC makes longest, U+FDFA
_SPECIALS = 64  # tokens that a tokenizer may add around a text


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
    if len(tokens) > _TOKENS_PER_CHARACTER * len(text) + _SPECIALS:
        raise WrongResult(f"encode() returned {len(tokens)} tokens for {len(text)} characters", tokenizer.encode)
    return tokens
