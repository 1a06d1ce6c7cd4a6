"""The model's tokenizer as core knows it, over one of transformers' tokenizers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from mlxk_core.api.backends import Detokenizer
from mlxk_mlx.engine.detokenizer import PieceDetokenizer, Pieces, WindowDetokenizer


class TokenizerAdapter:
    """`mlxk_core.api.backends.Tokenizer` over `hf`, a transformers tokenizer (a fast one, or any).

    `vocab_size` is the model's number of logits. Its methods may be called from any thread: the Rust tokenizer below
    a fast one is used directly, since transformers' own calls change its settings; another kind is used under a lock.
    """

    def __init__(self, hf: Any, *, vocab_size: int) -> None:
        self._hf = hf
        self.vocab_size = vocab_size
        self._lock = threading.Lock()
        self._backend = getattr(hf, "backend_tokenizer", None)
        self._pieces: Pieces | None = None
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
            self._pieces = Pieces.of(self._backend)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        if self._backend is not None:
            # The batch call, for one: `encode` keeps the interpreter's lock, and for seconds when a prompt is long.
            [encoding] = self._backend.encode_batch_fast([text], add_special_tokens=add_special_tokens)
            return list(encoding.ids)
        with self._lock:
            return list(self._hf.encode(text, add_special_tokens=add_special_tokens))

    def decode(self, tokens: Sequence[int], /) -> str:
        detokenizer = self.detokenizer()
        return "".join([*map(detokenizer.add, tokens), detokenizer.finish()])

    def piece(self, token: int, /) -> bytes | None:
        return self._pieces[token] if self._pieces is not None else None

    def token_id(self, text: str, /) -> int | None:
        if self._backend is not None:
            known = self._backend.token_to_id(text)
            if known is not None and self.decode([known]) == text:
                return int(known)
        tokens = self.encode(text, add_special_tokens=False)
        return tokens[0] if len(tokens) == 1 and self.decode(tokens) == text else None

    def detokenizer(self) -> Detokenizer:
        return WindowDetokenizer(self._decode) if self._pieces is None else PieceDetokenizer(self._pieces)

    def _decode(self, tokens: Sequence[int]) -> str:
        if self._backend is not None:
            return str(self._backend.decode(list(tokens), skip_special_tokens=False))
        with self._lock:
            return str(self._hf.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False))
