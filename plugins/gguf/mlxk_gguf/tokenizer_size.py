"""Whether the tokenizer of a GGUF file is small enough to be built in the server's own process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlxk_core.api import GGUFHeader

# Building a vocabulary keeps the interpreter locked: 0.25 s for 50,000 tokens with their merges.
_MAX_TOKENS = 1 << 16
_MAX_MERGES = 1 << 17
_MAX_CHARACTERS = 1 << 20  # of all tokens; of all merges twice as many
# Added tokens become a trie, locked as well: 4 us a byte.
_MAX_ADDED = 8192
_MAX_ADDED_BYTES = 1 << 16
# A sentencepiece vocabulary without merges gets one for each split of a token into two: Mistral's has 160,956 splits,
# whose halves have 1,041,294 characters.
_MAX_SPLITS = 1 << 18
_MAX_SPLIT_CHARACTERS = 1 << 22


def is_small(header: GGUFHeader) -> bool:
    """Return whether building the tokenizer of `header` takes a fraction of a second."""
    tokens, merges = (_texts(header.metadata.get(f"tokenizer.ggml.{key}")) for key in ("tokens", "merges"))
    if len(tokens) > _MAX_TOKENS or len(merges) > _MAX_MERGES:
        return False
    if sum(map(len, tokens)) > _MAX_CHARACTERS or sum(map(len, merges)) > 2 * _MAX_CHARACTERS:
        return False
    added = [len(text.encode("utf-8", "replace")) for _, text, _ in header.added_tokens()]
    if len(added) > _MAX_ADDED or sum(added) > _MAX_ADDED_BYTES:
        return False
    return "tokenizer.ggml.merges" in header.metadata or _has_few_splits(tokens)


def _has_few_splits(tokens: Sequence[str]) -> bool:
    return sum(map(len, tokens)) <= _MAX_SPLITS and sum(len(text) ** 2 for text in tokens) <= _MAX_SPLIT_CHARACTERS


def _texts(value: Any) -> Sequence[str]:
    texts = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return [text for text in texts if isinstance(text, str)]
