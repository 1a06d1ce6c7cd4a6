"""Checksums of local files against the hub's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from mlxk_core.api.models import regular_file
from mlxk_hub.client import RemoteFile

_CHUNK = 1 << 20


def matches_digest(path: Path, file: RemoteFile) -> bool:
    """Return whether the content of `path` is that of `file`. Reads every byte; an unreadable file does not match."""
    # git's name for a blob is the sha1 of this header and the content.
    digest = hashlib.sha256() if file.large else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    try:
        with regular_file(path).open("rb") as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    except PermissionError:
        return False
    return digest.hexdigest() == file.digest


def files_that_differ(folder: Path, files: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
    """Return the files whose copies in `folder` have another content. All of them must exist there."""
    return tuple(file for file in files if not matches_digest(folder / file.name, file))
