"""What a push would change: the files of a folder against those of a branch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from mlxk_core.hub.client import RemoteFile
from mlxk_push.folder import LocalFile


@dataclass(frozen=True, slots=True)
class Difference:
    """`only_there` is told and left alone: a push deletes nothing."""

    added: tuple[LocalFile, ...]
    modified: tuple[LocalFile, ...]
    only_there: tuple[str, ...]

    @property
    def changed(self) -> tuple[LocalFile, ...]:
        return self.added + self.modified


def difference(local: Iterable[LocalFile], remote: Iterable[RemoteFile]) -> Difference:
    there = {file.name: file for file in remote}
    here = {file.name: file for file in local}
    return Difference(
        added=tuple(file for name, file in here.items() if name not in there),
        modified=tuple(file for name, file in here.items() if name in there and _differs(file, there[name])),
        only_there=tuple(sorted(there.keys() - here.keys())),
    )


def _differs(local: LocalFile, remote: RemoteFile) -> bool:
    return local.size != remote.size or _digest(local, remote.large) != remote.digest


def _digest(file: LocalFile, large: bool) -> str:
    # git's own name for a file is the sha1 of this header and the content.
    digest = hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % file.size)
    with file.path.open("rb") as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
