"""JSON of token ids and of their texts, in pieces: as one text they take many times the memory of the ids."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from mlxk_core.api.backends import Tokenizer
from mlxk_core.api.server import Cancellation
from mlxk_serve.http.errors import invalid

LONGEST_DECODED = 1 << 22
"""Characters of a text of tokens: each of them may have any number."""
_DECODE_SECONDS = 20.0
"""For the texts of all tokens: 65,536 of a tokenizer that decodes in its process take as long."""
_PIECE = 1 << 14
"""Tokens between two checks whether the client has left, and in one call of the JSON encoder, which holds the lock."""


@dataclass(frozen=True, slots=True)
class TokenList:
    """Ids of tokens, 8 bytes each, and the JSON text of each token that occurs, None without texts."""

    ids: array[int]
    texts: Mapping[int, bytes] | None = None
    size: int = field(init=False)
    """Bytes that it holds."""

    def __post_init__(self) -> None:
        texts = 0 if self.texts is None else sum(map(len, self.texts.values()))
        object.__setattr__(self, "size", len(self.ids) * self.ids.itemsize + texts)

    def ids_json(self) -> Iterator[bytes]:
        """Yield the pieces of the JSON array of the ids."""
        return _json_array(msgspec.json.encode(list(piece))[1:-1] for piece in pieces(self.ids))

    def texts_json(self) -> Iterator[bytes]:
        """Yield the pieces of the JSON array of the texts, one for each id."""
        texts = self.texts or {}
        return _json_array(b",".join([texts[id] for id in piece]) for piece in pieces(self.ids))


def token_texts(tokenizer: Tokenizer, ids: Sequence[int], cancellation: Cancellation) -> dict[int, bytes]:
    """Return the JSON text of each token that occurs, decoded once. Raises `ApiError` (400) if all of them together
    are too long, or take too long: a token of a model may have megabytes of text."""
    counts: Counter[int] = Counter()
    for piece in pieces(ids, cancellation):
        counts.update(piece)
    texts: dict[int, bytes] = {}
    length, end = 0, time.monotonic() + _DECODE_SECONDS
    for id, count in counts.items():
        cancellation.check()  # a decoder in another process takes longer
        text = tokenizer.decode([id])
        length += len(text) * count
        if length > LONGEST_DECODED:
            raise invalid(f"The texts of the tokens exceed {LONGEST_DECODED:,} characters.", "return_token_strs")
        texts[id] = msgspec.json.encode(text)
        if time.monotonic() > end:
            raise invalid("The tokenizer takes too long for the texts of these tokens.", "return_token_strs")
    return texts


def pieces(ids: Sequence[int], cancellation: Cancellation | None = None) -> Iterator[Sequence[int]]:
    """Yield `ids` in slices, of which each takes milliseconds. Raises `Interrupted` between them if cancelled."""
    for start in range(0, len(ids), _PIECE):
        if cancellation is not None:
            cancellation.check()
        yield ids[start : start + _PIECE]


def _json_array(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces of a JSON array of `parts`, each of them some items with commas between them."""
    between = b"["
    for part in parts:
        yield between + part
        between = b","
    yield b"]" if between == b"," else b"[]"
