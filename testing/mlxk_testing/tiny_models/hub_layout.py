"""Models in the layout of the local cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path


def in_hub_cache(name: str, write: Callable[[Path], object], *, revision: str | None = None) -> Path:
    """Put the model that `write(folder)` writes into the current hub cache as `name`, and return its snapshot folder.

    `refs/main` names `revision` (default: a hash of the content).
    """
    root = _hub_cache() / f"models--{name.replace('/', '--')}"
    staging = root / "staging"
    staging.mkdir(parents=True)
    write(staging)
    files = sorted(path for path in staging.rglob("*") if path.is_file())
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    commit = revision or hashlib.sha1("".join(hashes.values()).encode()).hexdigest()
    snapshot = root / "snapshots" / commit
    (root / "blobs").mkdir(exist_ok=True)
    for path, digest in hashes.items():
        path.rename(root / "blobs" / digest)
        link = snapshot / path.relative_to(staging)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(root / "blobs" / digest, link.parent))
    for leftover in sorted(staging.rglob("*"), reverse=True):
        leftover.rmdir()
    staging.rmdir()
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    return snapshot


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
