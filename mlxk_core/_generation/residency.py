"""Loaded models: leases, the memory budget, and which model to unload to make room.

Only the engine thread changes a `Residency` or a `Resident`, except for `Resident.vocabulary` and
`Resident.stop_tokens`, which the first request that needs them sets. Other threads may iterate and read: the list is
consistent, numbers may be one step old.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from mlxk_core._errors import InsufficientMemory
from mlxk_core._generation.jobs import Resident, ResidentKey
from mlxk_core._text.units import human_size


class Residency:
    """The loaded models within a budget of `memory` bytes."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._residents: dict[ResidentKey, Resident] = {}

    def __iter__(self) -> Iterator[Resident]:
        return iter(list(self._residents.values()))  # a copy: the engine thread may change it meanwhile

    def get(self, key: ResidentKey) -> Resident | None:
        return self._residents.get(key)

    def add(self, resident: Resident) -> None:
        resident.weights = resident.refresh_memory()
        self._residents[resident.key] = resident

    def lease(self, resident: Resident) -> None:
        resident.leases += 1
        resident.retired = False

    def release(self, resident: Resident) -> None:
        resident.leases -= 1
        if not resident.closed:
            resident.refresh_memory()
        resident.last_used = time.monotonic()

    def note_use(self, key: ResidentKey) -> None:
        """Restart the idle time of a model, if it is loaded: it was used before its lease was noted."""
        if (resident := self._residents.get(key)) is not None:
            resident.last_used = time.monotonic()

    def free(self) -> int:
        """Return the bytes that the loaded models leave of the budget."""
        return self.memory - sum(resident.refresh_memory() for resident in self)

    def to_evict(self, need: int, name: str) -> list[Resident] | None:
        """Return the idle models to unload, the least recently used first, so that `need` bytes are free.

        None if leased models must be released first: nothing is unloaded unless that is enough. Raises
        `InsufficientMemory` if the whole budget is too small. `name` is the model's, for the message.
        """
        if need > self.memory:
            raise InsufficientMemory(
                f"`{name}` needs about {human_size(need)} of memory and the budget is {human_size(self.memory)}.",
                needed=need,
                budget=self.memory,
            )
        excess = need - self.free()
        found: list[Resident] = []
        for resident in self.idle_for_longest():
            if excess <= 0:
                break
            excess -= resident.memory
            found.append(resident)
        return found if excess <= 0 else None

    def idle_for_longest(self) -> list[Resident]:
        """Return the idle models, the least recently used first."""
        return sorted((resident for resident in self if resident.idle), key=lambda resident: resident.last_used)

    def unload(self, resident: Resident) -> None:
        """Close the engine and forget the model."""
        self._residents.pop(resident.key, None)
        resident.closed = True
        resident.engine.close()

    def expired(self, now: float) -> list[Resident]:
        """Return the models that have been idle for their time to live. `now` is in monotonic seconds."""
        return [resident for resident in self if resident.idle and resident.expires_at <= now]

    def next_expiry(self) -> float | None:
        """Return when the next idle model expires, in monotonic seconds; None if none does."""
        moments = [resident.expires_at for resident in self if resident.idle]
        return min((moment for moment in moments if moment < float("inf")), default=None)
