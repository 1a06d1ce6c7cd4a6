"""Whether the tokenizer of a GGUF file is small enough to be built in the server's own process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlxk_core.api import GGUFHeader

# Building a vocabulary keeps the interpreter locked: 0.25 s for 50,000 tokens with their merges.
_MAX_TOKENS = 1 << 16
_MAX_MERGES = 1 << 17
_MAX_ADDED = 8192
_LONGEST = 1024  # characters


def is_small(header: GGUFHeader) -> bool:
    """Return whether building the tokenizer of `header` takes a fraction of a second."""
    tokens, merges = (_texts(header.metadata.get(f"tokenizer.ggml.{key}")) for key in ("tokens", "merges"))
    if len(tokens) > _MAX_TOKENS or len(merges) > _MAX_MERGES:
        return False
    return sum(1 for _ in header.added_tokens()) <= _MAX_ADDED and max(map(len, tokens), default=0) <= _LONGEST


def _texts(value: Any) -> Sequence[str]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()
