"""Adapter from a transformers tokenizer to the tokenizer of an engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from mlxk_core.api.backends import Detokenizer, PairTokenizer, Tokenizer, TokenPair
from mlxk_core.api.errors import BrokenModel, InvalidOption
from mlxk_mlx.engine.detokenizer import PieceDetokenizer, TokenBytes, WindowDetokenizer, decode_tokens
from mlxk_mlx.engine.freed_memory import FreedMemory
from mlxk_mlx.engine.text_limits import check_length, check_tokens, limited

_MOST_SPECIAL = 1 << 16
"""Characters of all named special tokens and their names; those of models with images and sounds have 1,000."""


class ModelTokenizer(Tokenizer, PairTokenizer, Protocol):
    """What an engine needs of a tokenizer."""

    def close(self) -> None:
        """Release its resources. It is not used again."""


@dataclass(frozen=True, slots=True)
class LoadedTokenizer:
    """A tokenizer that was read from files. `adapt` returns it as an engine uses it, for the model's number of logits.

    `special_tokens` are the texts by name (`bos_token` and so on), `memory` the bytes that its process takes; `close`
    ends that.
    """

    special_tokens: Mapping[str, Any]
    eos_token_id: int | None
    adapt: Callable[[int], ModelTokenizer]
    memory: int = 0
    close: Callable[[], None] = lambda: None


def named_special_tokens(hf: Any) -> dict[str, Any]:
    """Return the special tokens of a transformers tokenizer by name, which each rendering of a conversation is sent.

    Raises `BrokenModel` if they have too many characters.
    """
    named: dict[str, Any] = dict(hf.special_tokens_map)
    characters = sum(len(name) + sum(map(len, text)) for name, text in named.items())
    if characters > _MOST_SPECIAL:
        raise BrokenModel(
            f"The named special tokens of the tokenizer have {characters:,} characters (at most {_MOST_SPECIAL:,})."
        )
    return named


class TokenizerAdapter:
    """`mlxk_core.api.backends.Tokenizer` for `hf`, a transformers tokenizer of any kind.

    `vocab_size` is the model's number of logits. Thread-safe: the Rust tokenizer of a fast one is called directly,
    since transformers' calls change its settings; a slow one is called under a lock.
    """

    def __init__(self, hf: Any, *, vocab_size: int) -> None:
        self._hf = hf
        self.vocab_size = vocab_size
        self._lock = threading.Lock()
        self._freed = FreedMemory()
        self._backend: Any = getattr(hf, "backend_tokenizer", None)
        self._bos: int | None = getattr(hf, "bos_token_id", None)
        self._pieces: TokenBytes | None = None
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
            self._pieces = TokenBytes.of(self._backend)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the token ids of `text`, with those that the tokenizer puts around a text if `add_special_tokens`.

        A text that begins with the BOS token gets no second one.
        """
        tokens = self._encode(text, add_special_tokens=add_special_tokens)
        if not add_special_tokens or tokens[:1] != [self._bos] or tokens[1:2] != [self._bos]:
            return tokens
        own = self._encode(text, add_special_tokens=False)
        return tokens[1:] if own[:1] == [self._bos] and len(own) < len(tokens) else tokens

    def _encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        if self._backend is not None:
            tokens = self._encode_fast(text, add_special_tokens=add_special_tokens)
        else:
            check_length(text)
            with self._lock:
                tokens = list(self._hf.encode(text, add_special_tokens=add_special_tokens))
            check_tokens(len(tokens))
        self._freed.add(len(text))
        return tokens

    def _encode_fast(self, text: str, *, add_special_tokens: bool) -> list[int]:
        with self._guard(text):
            # The batch call releases the interpreter lock; `encode` holds it, for seconds with a long prompt.
            [encoding] = self._backend.encode_batch_fast([text], add_special_tokens=add_special_tokens)
            check_tokens(len(encoding))
            tokens: list[int] = encoding.ids
            return tokens

    def encode_pair(self, first: str, second: str, *, max_tokens: int | None = None) -> TokenPair:
        """Return both texts with the special tokens around them; `second` is cut to `max_tokens` in all.

        Raises `InvalidOption` if `first` alone leaves no room, and for a tokenizer without a Rust part.
        """
        if self._backend is None:
            raise InvalidOption("model", "its tokenizer does not encode pairs")
        pair = self._encode_pair(first, second, max_tokens)
        self._freed.add(len(first) + len(second))
        return pair

    def _encode_pair(self, first: str, second: str, max_tokens: int | None) -> TokenPair:
        with self._guard(first, second):
            left, right = self._backend.encode_batch([first, second], add_special_tokens=False)
            check_tokens(len(left) + len(right))
            encoding = self._backend.post_process(left, right, True)
            ids, types = encoding.ids, encoding.type_ids
            if max_tokens is not None and (excess := len(ids) - max_tokens) > 0:
                # Not by `truncate`: what it cuts off becomes encodings that each get a copy of the whole first text.
                cut = [at for at, text in enumerate(encoding.sequence_ids) if text == 1][-excess:]
                if len(cut) < excess:
                    raise InvalidOption("query", f"has too many tokens ({len(left.ids)}); the model reads {max_tokens}")
                ids = [*ids[: cut[0]], *ids[cut[-1] + 1 :]]
                types = [*types[: cut[0]], *types[cut[-1] + 1 :]]
            return TokenPair(tuple(ids), tuple(types))

    @contextmanager
    def _guard(self, *texts: str) -> Iterator[None]:
        """Wait until texts of this length may be tokenized. Raises what `limited` does, and `BrokenModel` if the Rust
        tokenizer fails."""
        try:
            with limited(self._backend, texts):
                yield
        except BaseException as error:
            # An error of the Rust library, or a panic: no token for unknown text, or none with the name that the
            # post-processor gives.
            if type(error) is not Exception and type(error).__name__ != "PanicException":
                raise
            raise BrokenModel(f"The model's tokenizer failed: {error}") from error

    def decode(self, tokens: Sequence[int], /) -> str:
        return self.decode_tokens(tokens) if self._pieces is None else decode_tokens(self._pieces, tokens)

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
        return WindowDetokenizer(self.decode_tokens) if self._pieces is None else PieceDetokenizer(self._pieces)

    def close(self) -> None:
        """Without effect: everything is memory of this process."""

    @property
    def concurrent(self) -> bool:
        """Whether a short text does not wait for a long one that another thread tokenizes."""
        return self._backend is not None

    @property
    def strip(self) -> int:
        """The number of leading spaces that the decoder removes from a text."""
        return self._pieces.strip if self._pieces is not None else 0

    def piece_table(self, limit: int) -> list[bytes] | None:
        """Return the bytes of every token, None if they are unknown. Raises `BrokenModel` for an id above `limit`."""
        if self._pieces is None or self._backend is None:
            return None
        highest = max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1)
        if highest >= limit:
            raise BrokenModel(f"The tokenizer has a token with the id {highest:,} (at most {limit - 1:,}).")
        return [self._pieces[token] for token in range(highest + 1)]

    def decode_tokens(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens` by the tokenizer's own decoder."""
        if self._backend is not None:
            # The batch call releases the interpreter lock.
            return str(self._backend.decode_batch([list(tokens)], skip_special_tokens=False)[0])
        with self._lock:
            return str(self._hf.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False))
