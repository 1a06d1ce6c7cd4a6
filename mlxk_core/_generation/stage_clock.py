"""The time that each stage of a request takes."""

from __future__ import annotations

from dataclasses import dataclass

from mlxk_core._generation.events import Timings


@dataclass(slots=True)
class StageClock:
    """When each stage of a request was reached, in monotonic seconds."""

    submitted: float
    leased: float = 0.0
    submitted_row: float = 0.0
    admitted: float = 0.0
    first: float = 0.0
    last: float = 0.0
    loaded: bool = False

    def timings(self) -> Timings:
        """Return the length of each stage; one that was not reached took no time."""
        waited_for_model = self.leased - self.submitted if self.leased else 0.0
        waited_for_place = self.admitted - self.submitted_row if self.admitted else 0.0
        return Timings(
            load=waited_for_model if self.loaded else 0.0,
            queue=waited_for_place + (0.0 if self.loaded else waited_for_model),
            prompt=self.first - self.admitted if self.first else 0.0,
            generation=self.last - self.first if self.first else 0.0,
        )
