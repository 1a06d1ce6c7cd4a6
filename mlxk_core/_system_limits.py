"""Errors that say that the system lacks something, and nothing about what was read or run."""

from __future__ import annotations

import errno
import os

from mlxk_core._errors import SystemLimit, text_of

# The same call may succeed a moment later.
_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EINTR})
# Python has no number for it, and C++ libraries pass on the text of the system alone.
_TEXTS = ("can't start new thread", *map(os.strerror, sorted(_LIMITS - {errno.EINTR})))


def raise_system_limit(error: BaseException) -> None:
    """Raise `SystemLimit` if `error` is due to a limit of the system: no file descriptor, thread or memory is left."""
    if isinstance(error, OSError) and error.errno in _LIMITS:
        raise SystemLimit(f"A limit of the system is reached: {error.strerror}.") from error
    if isinstance(error, RuntimeError) and (text := text_of(error)).endswith(_TEXTS):
        raise SystemLimit(f"A limit of the system is reached: {text}.") from error
