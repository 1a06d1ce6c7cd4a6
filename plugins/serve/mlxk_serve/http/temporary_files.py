"""What the log says when a temporary file cannot be written."""

from __future__ import annotations

import errno

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def not_stored(what: str, error: OSError) -> str:
    """Return the message for `what` that could not be written to a temporary file because of `error`."""
    hint = " Free some space in the folder of TMPDIR." if error.errno in _NO_SPACE else ""
    return f"{what} cannot be stored: {error.strerror}.{hint}"
