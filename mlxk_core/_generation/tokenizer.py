"""The tokenizer of a loaded model, as a backend provides it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Detokenizer(Protocol):
    """Turns the tokens of one answer into text. Special tokens appear as their text; a character whose bytes are
    not complete is held back."""

    def add(self, token: int, /) -> str:
        """The text that `token` completes; often a word, sometimes nothing."""

    def finish(self) -> str:
        """What is still held back, U+FFFD for bytes that are no character."""


class Tokenizer(Protocol):
    """The model's tokenizer, usable from any thread."""

    @property
    def vocab_size(self) -> int:
        """The number of ids the model can produce (of logits, not of words)."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    def decode(self, tokens: Sequence[int], /) -> str:
        """The text of `tokens`, special tokens included, no clean-up."""

    def piece(self, token: int, /) -> bytes | None:
        """The bytes `token` stands for, or None if it cannot be told."""

    def token_id(self, text: str, /) -> int | None:
        """The id of the single token whose text is `text`, or None."""

    def detokenizer(self) -> Detokenizer:
        """A fresh one, for one answer."""
