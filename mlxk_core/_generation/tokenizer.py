"""The tokenizer protocol, which a backend implements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class Detokenizer(Protocol):
    """Turns the tokens of one response into text.

    Special tokens appear as their text. A character whose bytes are incomplete is held back. One that waits for another
    process has the attribute `blocking = True`: then a server gives the response a thread of its own.
    """

    def add(self, token: int, /) -> str:
        """Return the text that `token` completes: often a word, sometimes "". At most 65,536 characters."""

    def finish(self) -> str:
        """Return what is held back, with U+FFFD for bytes that do not form a character."""


class Tokenizer(Protocol):
    """The model's tokenizer, usable from any thread."""

    @property
    def vocab_size(self) -> int:
        """The number of token ids that the model can produce: the size of its logits."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the token ids of `text`: one per UTF-8 byte at most, and those that are added.

        Special tokens that are written in `text` become single tokens. `add_special_tokens` adds what the model expects
        around a raw text (a BOS token); the text of a chat template has it already.
        """

    def decode(self, tokens: Sequence[int], /) -> str:
        """Return the text of `tokens`, special tokens included, without any clean-up of spaces."""

    def piece(self, token: int, /) -> bytes | None:
        """Return the bytes of `token`; None if they are unknown."""

    def token_id(self, text: str, /) -> int | None:
        """Return the id of the single token whose text is `text`; None if there is none."""

    def detokenizer(self) -> Detokenizer:
        """Return a new detokenizer, for one response."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """Two texts as one input. `types` says which text each token belongs to (0 or 1); empty means 0 for all."""

    tokens: tuple[int, ...]
    types: tuple[int, ...] = ()


@runtime_checkable
class PairTokenizer(Protocol):
    """Additional members of the tokenizer of a cross-encoder."""

    def encode_pair(self, first: str, second: str, *, max_tokens: int | None = None) -> TokenPair:
        """Return both texts with the special tokens around them.

        `second` is cut to `max_tokens` in all; raises `InvalidOption` if `first` alone leaves no room.
        """
