"""How large the tree of a vocabulary's tokens is, and which of them to leave out of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection


def longest_that_fit(pieces: Collection[bytes], nodes: int) -> int:
    """Return the largest length of tokens, in bytes, with which all those of `pieces` that have it or less make a tree
    of at most `nodes`."""
    at_depth = Counter[int]()
    before = b""
    for piece in sorted(pieces):
        shared = 0
        for one, other in zip(before, piece, strict=False):
            if one != other:
                break
            shared += 1
        at_depth.update(range(shared + 1, len(piece) + 1))
        before = piece
    longest = 0
    for depth in range(1, max(at_depth, default=0) + 1):
        nodes -= at_depth[depth]
        if nodes < 0:
            break
        longest = depth
    return longest
