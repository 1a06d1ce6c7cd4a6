"""How large the tree of a vocabulary's tokens is, and which of them to leave out of it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate


def longest_that_fit(pieces: Iterable[bytes], nodes: int) -> int:
    """Return the largest length of tokens, in bytes, with which all those of `pieces` that have it or less make a tree
    of at most `nodes`. `pieces` are in order."""
    more_at = [0] * 2
    before = b""
    for piece in pieces:
        more_at += [0] * (len(piece) + 2 - len(more_at))
        shared = 0
        for one, other in zip(before, piece, strict=False):
            if one != other:
                break
            shared += 1
        more_at[shared + 1] += 1
        more_at[len(piece) + 1] -= 1
        before = piece
    up_to = list(accumulate(accumulate(more_at)))
    """Nodes of the tree of the first bytes of all tokens, by their number."""
    return next(length for length in reversed(range(len(up_to) - 1)) if not length or up_to[length] <= nodes)
