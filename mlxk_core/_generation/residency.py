"""Which models are loaded: leases, the memory budget, and what is unloaded to make room. Engine thread only."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from mlxk_core._errors import InsufficientMemory
from mlxk_core._generation.engine import Engine
from mlxk_core._generation.jobs import Job
from mlxk_core._host.specs import BackendSpec
from mlxk_core._models.model import Model

Key = tuple[Model, str]


@dataclass(eq=False, slots=True)
class Resident:
    """A loaded model. `leases` are the jobs that need it, `rows` those of them that the engine runs; `memory` is what
    the engine held when it was last asked, in bytes."""

    model: Model
    backend: BackendSpec
    engine: Engine
    leases: int = 0
    rows: dict[int, Job] = field(default_factory=dict)
    last_used: float = field(default_factory=time.monotonic)
    closed: bool = False
    memory: int = 0
    stop_tokens: frozenset[int] | None = None
    """What ends an answer, once a request has worked it out."""

    def weigh(self) -> int:
        """Asks the engine what it holds now. One that cannot tell holds what it held."""
        with contextlib.suppress(BaseException):  # see engine_thread: an engine's failure costs nobody else's requests
            self.memory = self.engine.memory
        return self.memory

    @property
    def key(self) -> Key:
        return (self.model, self.backend.name)

    @property
    def idle(self) -> bool:
        return self.leases == 0


class Residency:
    """The loaded models within a budget of `memory` bytes."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._residents: dict[Key, Resident] = {}

    def __iter__(self) -> Iterator[Resident]:
        return iter(list(self._residents.values()))  # a copy: the engine thread may change it while another reads

    def get(self, key: Key) -> Resident | None:
        return self._residents.get(key)

    def add(self, resident: Resident) -> None:
        resident.weigh()
        self._residents[resident.key] = resident

    def lease(self, resident: Resident) -> None:
        resident.leases += 1

    def release(self, resident: Resident) -> None:
        resident.leases -= 1
        if not resident.closed:
            resident.weigh()
        resident.last_used = time.monotonic()

    def in_the_way(self, need: int, name: str) -> list[Resident] | None:
        """The idle models to unload, the longest unused first, so that `need` bytes are free.

        None if leased ones must end first: nothing is unloaded unless that is enough. Raises `InsufficientMemory` if
        an empty memory would not hold it.
        """
        if need > self.memory:
            raise InsufficientMemory(
                f"`{name}` needs about {_told(need)} of memory and the budget is {_told(self.memory)}.",
                needed=need,
                budget=self.memory,
            )
        excess = sum(resident.weigh() for resident in self) + need - self.memory
        found: list[Resident] = []
        for resident in sorted((r for r in self if r.idle), key=lambda r: r.last_used):
            if excess <= 0:
                break
            excess -= resident.memory
            found.append(resident)
        return found if excess <= 0 else None

    def unload(self, resident: Resident) -> None:
        """Gives back a resident's memory."""
        self._residents.pop(resident.key, None)
        resident.closed = True
        resident.engine.close()

    def unused_since(self, moment: float) -> list[Resident]:
        """The idle models that nobody has used after `moment`."""
        return [resident for resident in self if resident.idle and resident.last_used <= moment]

    def next_idle_since(self) -> float | None:
        """When the longest unused resident was last used, or None if all are leased."""
        return min((r.last_used for r in self if r.idle), default=None)


def _told(size: int) -> str:
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size} bytes"
