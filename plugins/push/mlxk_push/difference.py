"""Difference between a local folder and a branch on the hub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlxk_hub.checksums import matches_digest
from mlxk_hub.client import RemoteFile
from mlxk_push.folder import LocalFile


@dataclass(frozen=True, slots=True)
class Difference:
    """The files a push uploads, and those that are only on the hub, which it leaves alone."""

    added: tuple[LocalFile, ...]
    modified: tuple[LocalFile, ...]
    only_on_hub: tuple[str, ...]

    @property
    def changed(self) -> tuple[LocalFile, ...]:
        return self.added + self.modified


def difference(local: Iterable[LocalFile], remote: Iterable[RemoteFile]) -> Difference:
    """Compare by size, then by checksum."""
    on_hub = {file.name: file for file in remote}
    in_folder = {file.name: file for file in local}
    return Difference(
        added=tuple(file for name, file in in_folder.items() if name not in on_hub),
        modified=tuple(file for name, file in in_folder.items() if name in on_hub and _differs(file, on_hub[name])),
        only_on_hub=tuple(sorted(on_hub.keys() - in_folder.keys())),
    )


def _differs(local: LocalFile, remote: RemoteFile) -> bool:
    return local.size != remote.size or not matches_digest(local.path, remote)
