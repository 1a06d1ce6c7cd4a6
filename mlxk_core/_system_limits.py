"""Errors that say that the system lacks something, and nothing about what was read or run."""

from __future__ import annotations

import errno
import os

from mlxk_core._errors import SystemLimit, text_of

# The same call may succeed a moment later.
_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EINTR})
# Python has no number for it, and C++ libraries pass on the text of the system alone.
_TEXTS = ("can't start new thread", *map(os.strerror, sorted(_LIMITS - {errno.EINTR})))


def system_limit(error: BaseException) -> SystemLimit | None:
    """Return the `SystemLimit` that `error` is due to, with `error` as its cause: no file descriptor, thread or memory
    is left. None for any other error."""
    reason = None
    if isinstance(error, OSError) and error.errno in _LIMITS:
        reason = error.strerror
    elif isinstance(error, RuntimeError) and (text := text_of(error)).endswith(_TEXTS):
        reason = text
    if reason is None:
        return None
    limit = SystemLimit(f"A limit of the system is reached: {reason}.")
    limit.__cause__ = error
    return limit


def raise_system_limit(error: BaseException) -> None:
    """Raise the `system_limit` of `error`, if there is one."""
    if (limit := system_limit(error)) is not None:
        raise limit
