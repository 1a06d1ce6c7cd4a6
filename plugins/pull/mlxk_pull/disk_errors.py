"""Translation of disk errors into mlxk's errors, with a hint."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from mlxk_core.api.errors import MlxkError

# Reason and message by the operating system's error number; `{}` is the cache's folder.
_DISK = {
    errno.ENOSPC: ("disk_full", "The disk of {} is full."),
    errno.EDQUOT: ("quota", "Your quota on the disk of {} is used up."),
    errno.EFBIG: (
        "file_too_large",
        "The disk of {} does not allow a file this large (FAT32 ends at 4 GB; `ulimit -f` may also set a limit).",
    ),
    errno.EROFS: ("read_only", "The disk of {} is read-only."),
}
# hf_xet, written in Rust, gives the number in words only.
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")


def disk_error(error: BaseException, cache: Path) -> MlxkError | None:
    """Return mlxk's error if the disk caused `error`, directly or among its causes, else None."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if (code := _number(current)) in _DISK:
            reason, text = _DISK[code]
            return MlxkError(f"{text.format(cache)} Set HF_HOME to keep the cache elsewhere.", reason=reason)
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return None


def write_error(error: OSError, cache: Path) -> MlxkError:
    """Return mlxk's error for a file of the cache that cannot be written."""
    return disk_error(error, cache) or MlxkError(
        f"Cannot write {error.filename or cache}: {error.strerror or error}.", reason="not_writable"
    )


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    match = _RUST_ERROR.search(str(error)) if isinstance(error, RuntimeError) else None
    return int(match[1]) if match else None
