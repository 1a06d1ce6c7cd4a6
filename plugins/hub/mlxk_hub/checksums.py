"""A file here against what the hub says of it: the one question that reads every byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlxk_core.api.models import regular_file
from mlxk_hub.client import RemoteFile

_CHUNK = 1 << 20


def same(path: Path, file: RemoteFile) -> bool:
    """The content of `path` is the hub's. huggingface_hub itself compares lengths only, so a flipped byte stays.
    A file that may not be read is of no more use than a wrong one."""
    # git's own name for a file is the sha1 of this header and the content.
    digest = hashlib.sha256() if file.large else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    try:
        with regular_file(path).open("rb") as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    except PermissionError:
        return False
    return digest.hexdigest() == file.digest
