"""Items that must be distinct (`uniqueItems`): no grammar can say it, so tokens that would repeat one are masked."""

from __future__ import annotations

import re
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mlxk_core.api.errors import ConstraintFailure
from mlxk_core.api.generation import TokenConstraint, Vocabulary
from mlxk_structured.json_scan import Frame, Repeated, Scanner, Walk
from mlxk_structured.matcher import StepTime
from mlxk_structured.parser_memory import ParserShare
from mlxk_structured.repetition_search import Search, Shadow
from mlxk_structured.token_order import in_order

_MOST_SCANNERS = 64
_MASK_SECONDS = 0.01
"""What a mask may take more than a step of a grammar: with 200,000 tokens and free text it takes as long."""
_MOST_PLACES = 2048
"""Places of used items that are looked at for one token, in 40 milliseconds at most: 250 names that are nearly all used
have as many."""
_TWO_ENDS = re.compile(rb"[\",\]}][^\",\]}]*[\",\]}]")
_NEXT_ITEM = re.compile(rb"^[,\]}]|[\"\]}0-9el][,\]}]")


class TokenTexts:
    """The texts of a vocabulary's tokens, and those that can end one item and write the next."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        tokenizer = vocabulary.tokenizer
        markers = {token: text.encode() for text, token in vocabulary.markers.items()}
        self.texts = [markers.get(token) or tokenizer.piece(token) or b"" for token in range(tokenizer.vocab_size)]
        self._text = self.texts.__getitem__
        self._sorted = array("I", in_order(self.texts, range(len(self.texts))))
        """All tokens by their text. A list for each text would be objects that collections of garbage visit."""
        self.longest = max(map(len, self.texts), default=0)
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
        for length in range(1, min(len(text), self.longest) + 1):
            yield from self._from(text[:length], whole=True)
        yield from self._from(text, whole=False)

    def _from(self, text: bytes, *, whole: bool) -> Iterator[int]:
        """Yield the tokens that have `text`, or begin with it if it is not the `whole` one."""
        for at in range(bisect_left(self._sorted, text, key=self._text), len(self._sorted)):
            token = self._sorted[at]
            found = self.texts[token]
            if found != text if whole else not found.startswith(text):
                break
            yield token


class DistinctItems:
    """`TokenConstraint` that keeps `inner` from repeating items where a schema of `walk` wants distinct ones.

    The text is followed in the schema. What the grammar still allows after a prefix, `shadow` says: a matcher of the
    same grammar for single bytes. So an item is not begun that could only end as one that is there already.
    `embedded` says that text of the grammar's own surrounds the JSON.
    """

    def __init__(
        self,
        inner: TokenConstraint,
        pieces: TokenTexts,
        walk: Walk,
        shadow: Callable[[], Any],
        steps: StepTime,
        share: ParserShare,
        *,
        embedded: bool,
    ) -> None:
        self._inner = inner
        self._pieces = pieces
        self._walk = walk
        self._steps = steps
        self._embedded = embedded
        self._scanners: list[Scanner] = []
        self._written = bytearray()
        self._shadow = Shadow(shadow, self._written, share)

    @property
    def complete(self) -> bool:
        return self._inner.complete

    def mask(self) -> bytes | None:
        mask = self._inner.mask()
        watching = [scanner for scanner in self._scanners if scanner.watches]
        if mask is None or not watching:
            return mask
        begun = time.thread_time()
        masked = self._without_repeats(mask, watching)
        self._steps.add(time.thread_time() - begun - _MASK_SECONDS)
        return masked

    def _without_repeats(self, mask: bytes, watching: Sequence[Scanner]) -> bytes:
        search = Search(_MOST_PLACES)
        allowed = bytearray(mask)
        suspects = int.from_bytes(mask, "little") & self._crossing(watching)
        tokens = {*_bits(suspects), *self._along_used(watching)}
        # Those that write most come first: they are nearest to an end that would be a repetition.
        for token in sorted(tokens, key=lambda token: len(self._pieces.texts[token]), reverse=True):
            byte, bit = divmod(token, 8)
            if byte < len(allowed) and allowed[byte] >> bit & 1 and not self._allows(self._pieces.texts[token], search):
                allowed[byte] &= ~(1 << bit)
        if not any(allowed):
            raise ConstraintFailure("The constraint wants distinct items, and no other item is left.")
        return bytes(allowed)

    def accept(self, token: int, /) -> None:
        self._inner.accept(token)
        begun = time.thread_time()
        text = self._pieces.texts[token] if token < len(self._pieces.texts) else b""
        self._written += text
        self._scanners = list(self._read(self._scanners, text))
        self._shadow.follow()
        self._steps.add(time.thread_time() - begun)

    def _crossing(self, watching: Sequence[Scanner]) -> int:
        """The tokens that can end an item, whatever it is."""
        frames = (each for scanner in watching for each in scanner.frames)
        if any(frame.used.escaped or b"\\" in item for frame, item in frames):
            return self._pieces.crossing | self._pieces.quoting  # such a string can be written in more than one way
        return self._pieces.crossing

    def _along_used(self, watching: Sequence[Scanner]) -> Iterator[int]:
        """Return the tokens that can only continue to a repeated item."""
        for scanner in watching:
            for frame, text in scanner.frames:
                if (branch := frame.used.beginning_with(text)) is not None:
                    for rest in branch.rests(self._pieces.longest):
                        yield from self._pieces.along(rest)

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

    def _allows(self, text: bytes, search: Search) -> bool:
        """Whether `text` repeats no item and can continue without repeating one."""
        states = [scanner.state() for scanner in self._scanners]
        try:
            active = self._read(self._scanners, text)
            return all(self._goes_on(frame, item, text, search) for scanner in active for frame, item in scanner.frames)
        except Repeated:
            return False
        finally:
            for scanner, state in zip(self._scanners, states, strict=True):
                scanner.restore(state)

    def _goes_on(self, frame: Frame, item: bytes, text: bytes, search: Search) -> bool:
        branch = frame.used.beginning_with(item)
        if branch is None or search.over:
            return True
        with self._shadow.after(text) as matcher:
            return matcher is None or search.other_way(matcher, branch)


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
