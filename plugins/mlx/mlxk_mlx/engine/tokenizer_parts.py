"""What the parts of a Rust tokenizer do with a text: how it is normalized, split, and whether text is left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mlxk_mlx.byte_alphabet import BYTE_OF_LETTER

_SPLIT = 1 << 12
"""Characters that are normalized and split at once, since it holds the interpreter's lock: 10 ms."""


def normalizer_steps(normalizer: Any) -> Sequence[Any]:
    """Return the normalizers that `normalizer`, of a `tokenizers.Tokenizer`, applies one after the other.

    A sequence in a sequence is one step: the library does not list its own steps.
    """
    if normalizer is None:
        return ()
    if _kind(normalizer) == "Sequence":
        return [normalizer[index] for index in range(len(normalizer))]
    return [normalizer]


def drops_text(backend: Any) -> bool:
    """Return whether `backend`, a `tokenizers.Tokenizer`, may have no token for a part of a text that it splits off.

    Only BPE does so, for characters that are not in its vocabulary: without a token for them, and without all bytes.
    """
    model = backend.model
    if _kind(model) != "BPE" or model.unk_token is not None:
        return False
    if model.continuing_subword_prefix or model.end_of_word_suffix:  # characters are looked up with them
        return True
    if model.byte_fallback:
        spellings = [f"<0x{byte:02X}>" for byte in range(256)]
    elif _ends_with_byte_level(backend.pre_tokenizer):
        spellings = [*BYTE_OF_LETTER]
    else:
        return True
    return any(model.token_to_id(spelling) is None for spelling in spellings)


def _kind(part: Any) -> str:
    return type(part).__name__


def _ends_with_byte_level(pre_tokenizer: Any) -> bool:
    """Return whether all that is looked up in the vocabulary are letters that stand for bytes."""
    if pre_tokenizer is None:
        return False
    state = json.loads(pre_tokenizer.__getstate__())
    steps = state["pretokenizers"] if state["type"] == "Sequence" else [state]
    return bool(steps) and steps[-1]["type"] == "ByteLevel"


def split_count(backend: Any, text: str) -> int:
    """Return about the number of texts that the pre-tokenizer of `backend` splits `text` into."""
    if (pre_tokenizer := backend.pre_tokenizer) is None:
        return 1
    count = 0
    for start in range(0, len(text), _SPLIT):
        part = text[start : start + _SPLIT]
        if backend.normalizer is not None:
            part = backend.normalizer.normalize_str(part)
        count += len(pre_tokenizer.pre_tokenize_str(part))
    return count
