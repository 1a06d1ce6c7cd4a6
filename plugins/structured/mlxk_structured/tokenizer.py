"""A model's vocabulary as llguidance needs it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import llguidance

from mlxk_core.api.backends import Tokenizer
from mlxk_core.api.errors import InvalidConstraint
from mlxk_core.api.generation import Vocabulary
from mlxk_structured.token_order import TokenOrder, in_order
from mlxk_structured.trie_size import longest_that_fit

_LONGEST_TRIED = 64
_LONGEST_TOKEN = 512
"""Bytes of a token that constraints allow: those of real vocabularies have at most 256."""
_MOST_TOKENS, _MOST_BYTES = 300_000, 8 << 20
"""Of a vocabulary. Gemma has 262,144 tokens of 2 MB."""
_MOST_NODES = 3 << 18
"""Of the tree of all tokens: the interpreter's lock is held while llguidance makes it, 0.4 s at most. The 150,000
tokens of Mistral's Tekken have 311,516, those of Qwen 333,009."""

_PAUSE = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class ModelTokens:
    """A vocabulary as llguidance reads it: an `LLTokenizer`, and its numbers of the model's tokens."""

    tokenizer: Any
    order: TokenOrder


class Tokenizers:
    """The vocabularies of loaded models, read once for each (1.5 s with 150,000 tokens)."""

    def __init__(self) -> None:
        self._made: weakref.WeakKeyDictionary[Tokenizer, dict[Any, Any]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def get(self, vocabulary: Vocabulary) -> ModelTokens:
        """Return what llguidance made of `vocabulary`. Raises `InvalidConstraint` if its tokens have no bytes, or if
        they are too many."""
        key = vocabulary_key(vocabulary)
        with self._lock:
            of_model = self._made.setdefault(vocabulary.tokenizer, {})
            if key not in of_model:
                try:
                    of_model[key] = _make(vocabulary)
                except InvalidConstraint as error:
                    of_model[key] = error.with_traceback(None)
            made: ModelTokens | InvalidConstraint = of_model[key]
        if isinstance(made, InvalidConstraint):
            raise made
        return made


def vocabulary_key(vocabulary: Vocabulary) -> tuple[frozenset[int], frozenset[int]]:
    """Return what distinguishes the vocabularies of one tokenizer."""
    return vocabulary.stop_tokens, frozenset(vocabulary.markers.values())


class _LLGuidanceTokens:
    """The tokens in the form that llguidance asks for, by its own numbers (`order`). They end with one more than the
    model has: the end of a response of a model without stop tokens."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        tokenizer = vocabulary.tokenizer
        if tokenizer.vocab_size > _MOST_TOKENS:
            raise InvalidConstraint(
                "constraint", f"this model has {tokenizer.vocab_size} tokens; constraints need at most {_MOST_TOKENS}"
            )
        pieces = [_piece(tokenizer, token) for token in range(tokenizer.vocab_size)]
        if not any(pieces):
            raise InvalidConstraint("constraint", "the tokenizer of this model does not tell the bytes of its tokens")
        size = sum(map(len, filter(None, pieces)))
        if size > _MOST_BYTES:
            raise InvalidConstraint("constraint", "the tokens of this model are too long for constraints")
        texts = [piece or b"" for piece in pieces]
        if size > _MOST_NODES:  # answers are written with the shorter ones
            longest = longest_that_fit(map(texts.__getitem__, in_order(texts, range(len(texts)))), _MOST_NODES)
            texts = [text if len(text) <= longest else b"" for text in texts]
        self.special_token_ids = sorted({*vocabulary.markers.values(), *vocabulary.stop_tokens, len(pieces)})
        self.order = TokenOrder([*texts, b"<mlxk:end>"], frozenset(self.special_token_ids))
        self.tokens = self.order.texts
        self.eos_token_id = min(vocabulary.stop_tokens, default=len(pieces))
        self.bos_token_id = None
        special = set(self.special_token_ids)
        self._ids = {piece: token for token, piece in enumerate(self.tokens) if piece and token not in special}
        self._longest = min(_LONGEST_TRIED, max(map(len, self._ids), default=1))

    def __call__(self, text: str | bytes) -> Sequence[int]:
        """Return tokens of `text`, each as long as it can be. llguidance asks for no texts that it writes."""
        data = text if isinstance(text, bytes) else text.encode()
        tokens, at = [], 0
        while at < len(data):
            for length in range(min(self._longest, len(data) - at), 0, -1):
                token = self._ids.get(data[at : at + length])
                if token is not None:
                    tokens.append(token)
                    at += length
                    break
            else:
                return tokens  # a byte that no token writes
        return tokens


def _piece(tokenizer: Tokenizer, token: int) -> bytes | None:
    piece = tokenizer.piece(token)
    return None if piece is None or len(piece) > _LONGEST_TOKEN else piece


def _make(vocabulary: Vocabulary) -> ModelTokens:
    pieces = _LLGuidanceTokens(vocabulary)
    stops = sorted(vocabulary.stop_tokens) or [pieces.eos_token_id]
    # In two steps, since each holds the interpreter's lock: 0.2 and 0.3 s with 150,000 tokens.
    tokens = llguidance.LLTokenizer(
        llguidance.TokenizerWrapper(pieces), n_vocab=len(pieces.tokens), eos_token=stops, slices=[]
    )
    time.sleep(_PAUSE)  # a request is answered by several turns of other threads
    _of_spaces, *slices = llguidance.LLTokenizer.general_slices()  # without the first, masks are as quick
    return ModelTokens(tokens.with_slices(slices), pieces.order)


@dataclass(frozen=True)
class _Bytes:
    """A vocabulary of bytes, for checks without a model."""

    tokens: tuple[bytes, ...] = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids: tuple[int, ...] = (256,)
    eos_token_id: int = 256
    bos_token_id: int | None = None

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


@cache
def bytes_tokenizer() -> Any:
    """Return the `LLTokenizer` whose tokens are the 256 bytes, and the end of a response."""
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Bytes()), eos_token=[256])


def matches(pattern: str, text: str) -> bool:
    """Return whether all of `text` matches `pattern`, an expression in llguidance's syntax."""
    grammar = llguidance.LLMatcher.grammar_from_lark(f"%llguidance {{}}\nstart: T\nT: /(?:{pattern})/\n")
    matcher = llguidance.LLMatcher(bytes_tokenizer(), grammar, log_level=0)
    data = list(text.encode())
    return bool(matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting())
