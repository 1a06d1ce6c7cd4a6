"""What a push would change: the files of a folder against those of a branch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlxk_hub.checksums import same
from mlxk_hub.client import RemoteFile
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
    return local.size != remote.size or not same(local.path, remote)
