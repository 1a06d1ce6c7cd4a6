"""Messages between the download process and its parent."""

from __future__ import annotations

import msgspec


class JobFile(msgspec.Struct, frozen=True):
    """A file of the model. `redo`: download it even if the cache has it."""

    name: str
    size: int
    digest: str
    large: bool
    redo: bool = False


class DownloadJob(msgspec.Struct, frozen=True):
    """What to download, and where to. Paths are absolute."""

    repository: str
    revision: str
    commit: str
    cache: str
    folder: str
    locks: str
    files: tuple[JobFile, ...]


class Downloaded(msgspec.Struct, tag="downloaded", frozen=True):
    """The number of bytes of the job's files that are in the cache."""

    bytes: int


class Note(msgspec.Struct, tag="note", frozen=True):
    """A sentence for the user."""

    text: str


Report = Downloaded | Note
