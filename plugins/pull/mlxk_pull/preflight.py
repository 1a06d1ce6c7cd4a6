"""The preflight: everything that can be refused is refused here, before anything is written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from mlxk_core.api.errors import Kind, MlxkError
from mlxk_hub.client import HubClient, RemoteFile
from mlxk_pull.local_state import Held, Place, held
from mlxk_pull.progress import spelled
from mlxk_pull.selection import Filter, select
from mlxk_pull.target import Wanted


class NotEnoughDisk(MlxkError):
    """The files do not fit on the disk. Sizes in bytes are in `details`."""

    kind = Kind("not_enough_disk", 1, 507)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be had, and what of it is here."""

    wanted: Wanted
    commit: str
    files: tuple[RemoteFile, ...]
    place: Place
    held: Held

    @property
    def name(self) -> str:
        return f"{self.wanted.reference}" if self.wanted.revision else f"{self.wanted.reference} ({self.commit[:7]})"

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def complete(self) -> bool:
        return len(self.held.whole) == len(self.files)

    def looked_at_again(self) -> Plan:
        return replace(self, held=held(self.place, self.commit, self.files))


def preflight(client: HubClient, wanted: Wanted, filter: Filter) -> Plan:
    """Asks in the order in which answers are worth giving: may it be read, which revision, which files, how large."""
    client.check_access(wanted.repository)
    name, commit = client.commit(wanted.repository, wanted.revision)
    if name.casefold() == wanted.repository.casefold():
        wanted = replace(wanted, repository=name)  # as the hub spells it, so that one model has one folder here
    selection = select(wanted.repository, client.files(wanted.repository, commit), filter, wanted.variant)
    if selection.variant and wanted.variant:
        wanted = replace(wanted, variant=selection.variant)
    place = Place.of(wanted.repository)
    return Plan(wanted, commit, selection.files, place, held(place, commit, selection.files))


def check_space(plan: Plan, needed: int) -> None:
    """Refuses unless all that is to be downloaded fits: huggingface_hub looks at each file alone, and only warns."""
    folder = plan.place.cache
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(Path(folder)).free
    if needed > free:
        raise NotEnoughDisk(
            f"`{plan.wanted.reference}` needs {spelled(needed)} and {folder} has {spelled(free)} left. Free some space "
            "(`mlxk list --all`, `mlxk rm MODEL`), or set HF_HOME to a larger disk.",
            needed=needed,
            free=free,
            folder=str(folder),
        )
