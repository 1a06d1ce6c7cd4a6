"""Checksums: which files here are not what the hub has."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlxk_core.hub.client import RemoteFile
from mlxk_pull.plan import Plan


def changed(plan: Plan) -> tuple[RemoteFile, ...]:
    """The files whose contents differ. huggingface_hub compares lengths only, so a flipped byte stays.

    By hand and not by `verify_repo_checksums`: that one asks the hub for the list of files once more, and takes every
    file that was not selected for a missing one.
    """
    snapshot = plan.place.snapshot(plan.commit)
    return tuple(file for file in plan.files if _digest(snapshot / file.name, file) != file.digest)


def _digest(path: Path, file: RemoteFile) -> str:
    # git's own name for a file is the sha1 of this header and the content.
    digest = hashlib.sha256() if file.large else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
