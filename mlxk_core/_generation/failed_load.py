"""Memory of a load that failed: the error lives on, what its calls held does not."""

from __future__ import annotations

import traceback


def release_locals(error: BaseException) -> None:
    """Clear the local variables of all calls that `error` and its causes came through, such as a network with all its
    weights. The traceback stays, for those who print it."""
    found: list[BaseException] = [error]
    seen: set[int] = set()
    while found:
        each = found.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        traceback.clear_frames(each.__traceback__)
        found += [other for other in (each.__cause__, each.__context__) if other is not None]
