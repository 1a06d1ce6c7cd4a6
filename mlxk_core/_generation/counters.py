"""Totals of the service since its start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlxk_core._generation.engine import Prefilled, Sampled, StepEvent


@dataclass(slots=True)
class Counters:
    """Totals since the start, which only grow. Written by the engine thread."""

    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    loads: int = 0
    unloads: int = 0
    expired: int = 0
    """Unloads of models that were idle for `ttl`; the other unloads made room for another model."""
    engine_failures: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0

    def count(self, events: Iterable[StepEvent]) -> None:
        """Add the tokens of the events of a step."""
        for event in events:
            if isinstance(event, Sampled):
                self.generated_tokens += 1
            elif isinstance(event, Prefilled) and event.done == event.total:
                self.prompt_tokens += event.total
                self.cached_tokens += event.cached
