"""Scored tokens as bytes, for those that hold very many of them."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

from mlxk_core._generation.engine import ScoredToken
from mlxk_core._generation.events import PromptToken, TokenLogprob

T = TypeVar("T")
_OBJECT = 50
"""Bytes of an object that holds others."""


class PackedTokens(Sequence[T], Generic[T]):
    """Tokens in a tenth of their memory, made again whenever they are read.

    A response may have millions of alternatives. As objects, every collection of garbage visits all of them, for
    seconds, with the interpreter's lock held.
    """

    __slots__ = ("_packed", "_read")

    def __init__(self, packed: Sequence[bytes], read: Callable[[bytes], T]) -> None:
        self._packed = packed
        self._read = read

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[T]:
        return map(self._read, self._packed)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> PackedTokens[T]: ...

    def __getitem__(self, index: int | slice) -> T | PackedTokens[T]:
        if isinstance(index, slice):
            return PackedTokens(self._packed[index], self._read)
        return self._read(self._packed[index])

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(_OBJECT + len(each) for each in self._packed)

    @staticmethod
    def of(tokens: Sequence[TokenLogprob] | Sequence[PromptToken]) -> PackedTokens[Any]:
        """Return `tokens`, all of one kind, packed."""
        scored = [token for token in tokens if isinstance(token, PromptToken)]
        if scored:
            return PackedTokens([_pack_prompt(token) for token in scored], _unpack_prompt)
        return PackedTokens([_pack(token) for token in tokens if isinstance(token, TokenLogprob)], _unpack)

    @staticmethod
    def of_scores(tokens: Iterable[ScoredToken]) -> PackedTokens[ScoredToken]:
        """Return scored tokens of a prompt, packed: they may wait for a reader that is slow. Raises `ValueError` or
        `TypeError` for alternatives that are not pairs of numbers."""
        return PackedTokens([_pack_score(token) for token in tokens], _unpack_score)

    @staticmethod
    def joined(parts: Iterable[Sequence[T]]) -> Sequence[T]:
        """Return the tokens of all `parts`, packed if they are."""
        filled = [part for part in parts if part]
        packed = [part for part in filled if isinstance(part, PackedTokens)]
        if packed and len(packed) == len(filled):
            return PackedTokens([each for part in packed for each in part._packed], packed[0]._read)
        return tuple(token for part in filled for token in part)


def _fields(token: TokenLogprob) -> tuple[Any, ...]:
    return token.text, token.logprob, token.data, token.id


def _pack(token: TokenLogprob) -> bytes:
    return marshal.dumps((_fields(token), [_fields(top) for top in token.top]))


def _unpack(packed: bytes) -> TokenLogprob:
    (text, logprob, data, id), top = marshal.loads(packed)
    return TokenLogprob(text, logprob, data, _tops(top), id)


def _pack_prompt(token: PromptToken) -> bytes:
    fields = (token.id, token.text, token.logprob, token.rank, token.data)
    return marshal.dumps((fields, [_fields(top) for top in token.top]))


def _unpack_prompt(packed: bytes) -> PromptToken:
    fields, top = marshal.loads(packed)
    id, text, logprob, rank, data = fields
    return PromptToken(id, text, logprob, rank, data, _tops(top))


def _pack_score(token: ScoredToken) -> bytes:
    top = tuple((int(id), float(logprob)) for id, logprob in token.top)
    return marshal.dumps((int(token.token), float(token.logprob), int(token.rank), top))


def _unpack_score(packed: bytes) -> ScoredToken:
    return ScoredToken(*marshal.loads(packed))


def _tops(fields: Iterable[tuple[Any, ...]]) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(text, logprob, data, (), id) for text, logprob, data, id in fields)
