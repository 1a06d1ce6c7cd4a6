"""Items that must be distinct (`uniqueItems`): no grammar can say it, so tokens that would repeat one are masked."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mlxk_core.api.errors import ConstraintFailure
from mlxk_core.api.generation import TokenConstraint, Vocabulary
from mlxk_structured.json_scan import Frame, Repeated, Scanner, Walk

_MOST_SCANNERS = 64
_ENDS = frozenset(b",]}:")
_TWO_ENDS = re.compile(rb"[\",\]}][^\",\]}]*[\",\]}]")
_NEXT_ITEM = re.compile(rb"^[,\]}]|[\"\]}0-9el][,\]}]")


class TokenTexts:
    """The texts of a vocabulary's tokens, and those that can end one item and write the next."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        tokenizer = vocabulary.tokenizer
        markers = {token: text.encode() for text, token in vocabulary.markers.items()}
        self.texts = [markers.get(token) or tokenizer.piece(token) or b"" for token in range(tokenizer.vocab_size)]
        self.ids: dict[bytes, list[int]] = {}
        for token, text in enumerate(self.texts):
            self.ids.setdefault(text, []).append(token)
        self._sorted = sorted(self.ids)
        self.crossing = self._those(lambda text: bool(_TWO_ENDS.search(text) or _NEXT_ITEM.search(text)))
        self.quoting = self._those(lambda text: b'"' in text)

    def _those(self, wanted: Callable[[bytes], bool]) -> int:
        """The tokens whose text is `wanted`, one bit each."""
        bits = bytearray((len(self.texts) + 7) // 8)
        for token, text in enumerate(self.texts):
            if wanted(text):
                bits[token // 8] |= 1 << token % 8
        return int.from_bytes(bits, "little")

    def along(self, text: bytes) -> Iterator[int]:
        """Yield the tokens that `text` begins with, and those that begin with `text`."""
        for length in range(1, len(text) + 1):
            yield from self.ids.get(text[:length], ())
        for at in range(bisect_left(self._sorted, text), len(self._sorted)):
            if not self._sorted[at].startswith(text):
                break
            yield from self.ids[self._sorted[at]]


class DistinctItems:
    """`TokenConstraint` that keeps `inner` from repeating items where a schema of `walk` wants distinct ones.

    The text is followed in the schema. What the grammar still allows after a prefix, `shadow` says: a matcher of the
    same grammar for single bytes. So an item is not begun that could only end as one that is there already.
    `embedded` says that text of the grammar's own surrounds the JSON.
    """

    def __init__(
        self, inner: TokenConstraint, pieces: TokenTexts, walk: Walk, shadow: Callable[[], Any], *, embedded: bool
    ) -> None:
        self._inner = inner
        self._pieces = pieces
        self._walk = walk
        self._new_shadow = shadow
        self._embedded = embedded
        self._scanners: list[Scanner] = []
        self._written = bytearray()
        self._shadow: Any = None
        self._shadowed = 0

    @property
    def complete(self) -> bool:
        return self._inner.complete

    def mask(self) -> bytes | None:
        mask = self._inner.mask()
        watching = [scanner for scanner in self._scanners if scanner.watches]
        if mask is None or not watching:
            return mask
        allowed = bytearray(mask)
        suspects = int.from_bytes(mask, "little") & self._crossing(watching)
        for token in {*_bits(suspects), *self._along_used(watching)}:
            byte, bit = divmod(token, 8)
            if byte < len(allowed) and allowed[byte] >> bit & 1 and not self._allows(self._pieces.texts[token]):
                allowed[byte] &= ~(1 << bit)
        if not any(allowed):
            raise ConstraintFailure("The constraint wants distinct items, and no other item is left.")
        return bytes(allowed)

    def accept(self, token: int, /) -> None:
        self._inner.accept(token)
        text = self._pieces.texts[token] if token < len(self._pieces.texts) else b""
        self._written += text
        self._scanners = list(self._read(self._scanners, text))

    def _crossing(self, watching: Sequence[Scanner]) -> int:
        """The tokens that can end an item, whatever it is."""
        texts = (text for scanner in watching for frame, item in scanner.frames for text in (item, *frame.used))
        if any(b"\\" in text for text in texts):
            return self._pieces.crossing | self._pieces.quoting  # such a string can be written in more than one way
        return self._pieces.crossing

    def _along_used(self, watching: Sequence[Scanner]) -> Iterator[int]:
        """Return the tokens that can only continue to a repeated item."""
        for scanner in watching:
            for frame, text in scanner.frames:
                for used in frame.used:
                    if used.startswith(text):
                        yield from self._pieces.along(used[len(text) :])

    def _read(self, scanners: Sequence[Scanner], text: bytes) -> Sequence[Scanner]:
        """Feed `text` to the scanners and to those that begin in it. Raises `Repeated`."""
        active = list(scanners)
        for byte in text:
            begins = byte in b"[{" and len(active) < _MOST_SCANNERS and self._may_begin(active)
            for scanner in active:
                scanner.feed(byte)
            active = [scanner for scanner in active if not scanner.done and not scanner.failed]
            if begins:
                scanner = Scanner(self._walk)
                scanner.feed(byte)
                active.append(scanner)
        return active

    def _may_begin(self, active: Sequence[Scanner]) -> bool:
        """Whether a bracket may open a new value and not a part of the current one."""
        if not self._embedded:
            return not active
        return self._walk.like_calls or not any(scanner.expects_container for scanner in active)

    def _allows(self, text: bytes) -> bool:
        """Whether `text` repeats no item and can continue without repeating one."""
        states = [scanner.state() for scanner in self._scanners]
        try:
            active = self._read(self._scanners, text)
            return all(self._goes_on(frame, item, text) for scanner in active for frame, item in scanner.frames)
        except Repeated:
            return False
        finally:
            for scanner, state in zip(self._scanners, states, strict=True):
                scanner.restore(state)

    def _goes_on(self, frame: Frame, item: bytes, text: bytes) -> bool:
        rest = [used[len(item) :] for used in frame.used if used.startswith(item)]
        if not rest:
            return True
        matcher = self._after(text)
        return matcher is None or _other_way(matcher, rest)

    def _after(self, text: bytes) -> Any:
        """The byte matcher behind what is written and `text`, None where it does not follow."""
        if self._shadow is None:
            self._shadow = self._new_shadow()
        if self._shadowed < len(self._written):
            self._shadow.consume_tokens(list(self._written[self._shadowed :]))
            self._shadowed = len(self._written)
        copy = self._shadow.deep_copy()
        return copy if copy.consume_tokens(list(text)) and not copy.is_error() else None


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def _other_way(matcher: Any, used: list[bytes]) -> bool:
    """Whether `matcher` allows any continuation of an item but `used`."""
    waiting = [(matcher, used)]
    while waiting:
        matcher, used = waiting.pop()
        mask = matcher.compute_bitmask()
        if matcher.is_error():
            return True
        nexts = {text[0] for text in used if text}
        ends = _ENDS if b"" in used else ()
        allowed = [byte for byte in range(256) if mask[byte // 8] >> byte % 8 & 1]
        if any(byte not in nexts and byte not in ends for byte in allowed):
            return True
        for byte in nexts.intersection(allowed):
            copy = matcher.deep_copy()
            if copy.consume_token(byte):
                waiting.append((copy, [text[1:] for text in used if text[:1] == bytes([byte])]))
    return False
