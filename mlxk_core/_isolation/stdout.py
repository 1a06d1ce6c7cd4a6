"""Standard output belongs to mlxk: what other code prints goes to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_restore: list[tuple[TextIO, int | None]] = []
_own_descriptors = False


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send what any code prints to standard error, on every thread; in the process of `mlxk` also what C code and child
    processes print. mlxk's own output is not affected: its streams are bound before."""
    global _quiet_depth
    # Counted, since `contextlib.redirect_stdout` of two threads may restore in the wrong order.
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_restore.append((sys.stdout, _point_stdout_to_stderr()))
            sys.stdout = sys.stderr
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                sys.stdout, descriptor = _quiet_restore.pop()
                if descriptor is not None:
                    os.dup2(descriptor, 1)
                    os.close(descriptor)


def own_stdout() -> TextIO | None:
    """Return a stream for answers on a descriptor of its own, None if standard output is closed. From now on
    `quiet_stdout` redirects descriptor 1 too.

    For the process of `mlxk` only: in another one the descriptors are not ours to change.
    """
    global _own_descriptors
    if sys.stdout is None:
        return None
    _own_descriptors = True
    return os.fdopen(os.dup(1), "w", encoding="utf-8", errors="surrogateescape", newline="\n")


def _point_stdout_to_stderr() -> int | None:
    """Point descriptor 1 to standard error and return a copy of what it was; None where it is not ours."""
    if not _own_descriptors:
        return None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()  # what was printed before belongs to the answer
    try:
        before = os.dup(1)
    except OSError:
        return None
    try:
        os.dup2(2, 1)
    except OSError:
        os.close(before)
        return None
    return before
