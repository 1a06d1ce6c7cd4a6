"""Limits of texts that are tokenized: their bytes while they are normalized, their tokens, and how many at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from mlxk_core.api.errors import InvalidOption
from mlxk_mlx.engine.tokenizer_parts import drops_text, normalizer_steps, split_count

LONGEST_TEXT = 8 << 20
"""Characters of one text."""
MOST_TOKENS = 1 << 21
"""Tokens of texts that are tokenized together, each of which takes up to 200 bytes meanwhile: 4 characters each in the
longest text, as in most languages."""
_MOST_BYTES = 12 << 20
"""Bytes of texts that are tokenized together, in UTF-8, before and after each step that normalizes them: each takes 40
bytes meanwhile. Prose of any language has a token for four of them."""
_PIECE = 1 << 14
"""Characters whose tokens are counted at once."""
_NORMALIZED = 1 << 12
"""Characters that are normalized at once, since it holds the interpreter's lock: one may take 20 us."""
_EDGES = 16  # tokens that the cut edges of a piece may add to its share of the whole text
_UNCOUNTED = 1 << 20
"""Bytes of normalized texts that are not counted: a token has one at least in all but hostile tokenizers, whose process
has a limit."""
_SHORT = 1 << 12
"""Characters of a text whose normalized length does not matter."""
_EXPANSION = 4
"""How many times as long a normalizer may make other texts: at most 3 times in any language. NFKC makes 18 characters
of one ligature."""
_LONG, _VERY_LONG = 1 << 16, 1 << 20
_LONG_TEXTS, _VERY_LONG_TEXTS = threading.BoundedSemaphore(2), threading.BoundedSemaphore(1)
"""Held for a text of so many characters, since many come at once: two long ones at a time, one very long one."""


@contextmanager
def limited(backend: Any, texts: Sequence[str]) -> Iterator[None]:
    """Wait until texts of this length may be tokenized together by `backend`, a Rust tokenizer.

    Raises `InvalidOption` for texts that are too long, or that have too many tokens.
    """
    for text in texts:
        check_length(text)
    steps = normalizer_steps(backend.normalizer)
    size = sum(_normalized_bytes(steps, text) for text in texts)
    _check_bytes(texts, size)
    with _room(sum(map(len, texts))):
        if size > _UNCOUNTED:
            _check_pieces(backend, texts)
        yield


def check_length(text: str) -> None:
    """Raise `InvalidOption` for a text with too many characters."""
    if len(text) > LONGEST_TEXT:
        raise InvalidOption("prompt", f"has {len(text):,} characters (at most {LONGEST_TEXT:,} are tokenized)")


def check_tokens(count: int, *, at_least: bool = False) -> None:
    """Raise `InvalidOption` for texts with so many tokens, or `at_least` so many."""
    if count > MOST_TOKENS:
        number = f"at least {count:,}" if at_least else f"{count:,}"
        raise InvalidOption("prompt", f"has {number} tokens (at most {MOST_TOKENS:,})")


def _normalized_bytes(steps: Sequence[Any], text: str) -> int:
    """Return at least the bytes of `text`, in UTF-8, when `steps` normalize it, and before the last of them.

    Raises `InvalidOption` for a long text that becomes many times as long.
    """
    if len(text) <= _SHORT:
        return 0
    most, length, size = _EXPANSION * len(text) + _LONG, 0, 0
    for piece in _pieces(text, _NORMALIZED):
        largest = len(piece.encode("utf-8", "replace"))
        for step in steps:
            piece = step.normalize_str(piece)
            largest = max(largest, len(piece.encode("utf-8", "replace")))
        length += len(piece)
        size += largest
        if length > most:
            raise InvalidOption("prompt", f"has {len(text):,} characters that become over {length:,} when normalized")
        _check_bytes([text], size)
    return size


def _check_bytes(texts: Sequence[str], size: int) -> None:
    if size > _MOST_BYTES:
        characters = sum(map(len, texts))
        raise InvalidOption(
            "prompt", f"has {characters:,} characters of over {_MOST_BYTES:,} bytes while they are normalized"
        )


def _check_pieces(backend: Any, texts: Sequence[str]) -> None:
    """Raise `InvalidOption` as soon as the pieces of `texts` have too many tokens: all of them at once would take
    gigabytes, and the interpreter's lock for seconds.

    What a pre-tokenizer splits off counts as a token where the model may have none for it: it takes as much memory.
    """
    count, counts_splits = 0, drops_text(backend)
    for text in texts:
        for piece in _pieces(text, _PIECE):
            [encoding] = backend.encode_batch_fast([piece], add_special_tokens=False)
            found = len(encoding)
            if counts_splits:
                found = max(found, split_count(backend, piece))
            count += max(0, found - _EDGES)
            check_tokens(count, at_least=True)


def _pieces(text: str, size: int) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


def _room(characters: int) -> AbstractContextManager[object]:
    if characters <= _LONG:
        return nullcontext()
    return _LONG_TEXTS if characters <= _VERY_LONG else _VERY_LONG_TEXTS
