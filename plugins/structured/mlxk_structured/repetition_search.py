"""Whether an item can still become another than those that are there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mlxk_core.api.errors import ConstraintFailure
from mlxk_structured.parser_memory import ParserShare
from mlxk_structured.used_items import Branch

_MOST_WRITTEN = 1 << 17
"""Bytes that are read from the beginning: they take a second where many alternatives fit."""
_PIECE = 1 << 10
"""Bytes that are read in one call, with the interpreter locked."""
_BYTES = 256 // 8
_ENDS = sum(1 << byte for byte in b",]}:")
"""The bytes that follow an item, one bit each."""


class Shadow:
    """A matcher for single bytes of the same grammar, behind what is `written`. What it keeps counts in `share`."""

    def __init__(self, make: Callable[[], Any], written: bytearray, share: ParserShare) -> None:
        self._make = make
        self._written = written
        self._share = share
        self._matcher: Any = None
        self._read = 0

    def follow(self) -> None:
        """Read what was written, if it is followed already: later it would be much at once.

        Raises `ConstraintFailure` if it was too much.
        """
        if self._matcher is not None:
            self._catch_up()

    @contextmanager
    def after(self, text: bytes) -> Iterator[Any]:
        """Yield the matcher behind `text`, None where that does not follow. Who reads more inside goes back again.

        Raises `ConstraintFailure` if too much was written.
        """
        if self._matcher is None:
            if len(self._written) > _MOST_WRITTEN:
                raise ConstraintFailure("The response is too long for distinct items in its constraint.")
            self._matcher, self._read = self._make(), 0
        self._catch_up()
        matcher = self._matcher
        count = matcher.try_consume_tokens(list(text))
        try:
            yield matcher if count == len(text) and not matcher.is_error() else None
        finally:
            if matcher.is_error() or not matcher.rollback(count):
                self._matcher = None  # it cannot go back: the next one reads from the beginning

    def _catch_up(self) -> None:
        while self._read < len(self._written):
            piece = self._written[self._read : self._read + _PIECE]
            begun = time.thread_time()
            self._matcher.consume_tokens(list(piece))
            self._read += len(piece)
            self._share.add(time.thread_time() - begun)


class Search:
    """Looks for continuations that repeat no item, at up to `places` places of the texts that are there.

    A token is allowed when the search is over: its item is looked at again at its end. What was found at a place holds
    for all tokens of a mask, which have the same text before it.
    """

    def __init__(self, places: int) -> None:
        self._left = places
        self._found: dict[tuple[int, int, int, int], tuple[Branch, bool]] = {}

    @property
    def over(self) -> bool:
        return self._left <= 0

    def other_way(self, matcher: Any, branch: Branch) -> bool:
        """Return whether `matcher` allows any continuation of an item but those of `branch`. It goes there and back."""
        found, nexts = self._look(matcher, branch)
        path = [(branch, nexts)] if found is None else []
        while path:
            place, nexts = path[-1]
            for byte, inner in nexts:
                if not matcher.consume_token(byte):
                    continue
                found, further = self._look(matcher, inner)
                if found is None:
                    path.append((inner, further))
                    break
                matcher.rollback(1)
                if found:
                    for known, _ in path:
                        self._remember(known, True)
                    _go_back(matcher, len(path) - 1)
                    return True
            else:
                found = self._remember(place, False)
                path.pop()
                _go_back(matcher, min(1, len(path)))
        return bool(found)

    def _look(self, matcher: Any, branch: Branch) -> tuple[bool | None, Iterator[tuple[int, Branch]]]:
        """Return what is found at a place, or None and where to go on from there."""
        known = self._found.get(_place(branch))
        if known is not None:
            return known[1], iter(())
        if self.over:
            return True, iter(())
        self._left -= 1
        allowed = int.from_bytes(matcher.compute_bitmask()[:_BYTES], "little")
        nexts = [(byte, inner) for byte, inner in branch.nexts() if allowed >> byte & 1]
        repeating = sum(1 << byte for byte, _ in nexts)
        if matcher.is_error() or allowed & ~repeating & ~(_ENDS if branch.has_end else 0):
            return self._remember(branch, True), iter(())
        return None, iter(nexts)

    def _remember(self, branch: Branch, found: bool) -> bool:
        self._found[_place(branch)] = branch, found  # the branch keeps its texts, and so their id
        return found


def _place(branch: Branch) -> tuple[int, int, int, int]:
    return id(branch.texts), branch.low, branch.high, branch.depth


def _go_back(matcher: Any, count: int) -> None:
    if count > 0:
        matcher.rollback(count)
