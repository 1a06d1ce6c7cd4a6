"""Checks before a download: access, revision, files and disk space. Nothing is written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace

from mlxk_core.api.errors import NotEnoughDisk
from mlxk_core.api.text import human_size
from mlxk_hub.client import HubClient, RemoteFile
from mlxk_pull.local_state import FileStates, LocalRepository, files_by_state
from mlxk_pull.selection import Filter, select
from mlxk_pull.target import Target


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """The files of a revision to download, and their state in the cache."""

    target: Target
    commit: str
    files: tuple[RemoteFile, ...]
    repository: LocalRepository
    states: FileStates

    @property
    def label(self) -> str:
        reference = self.target.reference
        return reference if self.target.revision else f"{reference} ({self.commit[:7]})"

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def complete(self) -> bool:
        return len(self.states.complete) == len(self.files)

    def refresh(self) -> DownloadPlan:
        """Return the plan with the state of its files now."""
        return replace(self, states=files_by_state(self.repository, self.commit, self.files))


def preflight(client: HubClient, target: Target, filter: Filter) -> DownloadPlan:
    """Return the plan for `target`. The order of the checks decides which error is reported first."""
    client.check_access(target.repository)
    name, commit = client.commit(target.repository, target.revision)
    if name.casefold() == target.repository.casefold():
        target = replace(target, repository=name)  # as the hub spells it, so that a model has one folder
    selection = select(target.repository, client.files(target.repository, commit), filter, target.variant)
    if selection.variant and target.variant:
        target = replace(target, variant=selection.variant)
    repository = LocalRepository.of(target.repository)
    states = files_by_state(repository, commit, selection.files)
    return DownloadPlan(target, commit, selection.files, repository, states)


def check_space(plan: DownloadPlan, needed: int) -> None:
    """Raise `NotEnoughDisk` unless `needed` bytes fit: huggingface_hub checks each file alone, and only warns."""
    folder = plan.repository.cache
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NotEnoughDisk(
            f"Not enough disk space for `{plan.target.reference}`: {human_size(needed)} to download, "
            f"{human_size(free)} free on {folder}. Remove models (`mlxk list --all`, `mlxk rm MODEL`), "
            "or set HF_HOME to a larger disk.",
            needed=needed,
            free=free,
            folder=str(folder),
        )
