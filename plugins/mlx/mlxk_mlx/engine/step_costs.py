"""What a step of a network takes, by the tokens that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from mlxk_core.api.generation import machine_memory
from mlxk_mlx.loading import runtime

SEVERAL = 16
"""Tokens of a step with which the growth is measured for any step of more than one."""
_PEAK = 320_000_000
"""Numbers: 1.3 GB of float32. A step may have a sixteenth of the machine's memory, too."""
_WORK = 1 << 28
_WORK_OF_CONTEXT = 1 << 29
_OPERATIONS_ON_CPU, _OPERATIONS_ON_GPU = 100_000, 300_000
"""Freeing the graph of a step takes 3 us for each, with the interpreter locked."""
_NUMBER, _SHARE = 4, 16


class StepCost(NamedTuple):
    """`peak` is how many numbers are held at once, `work` how many are computed, of `operations` arrays."""

    peak: float
    work: float
    operations: float

    def towards(self, other: StepCost, part: float) -> StepCost:
        """Return the cost between the two, or beyond the other one."""
        return StepCost(*(mine + part * (theirs - mine) for mine, theirs in zip(self, other, strict=True)))

    def plus(self, more: StepCost, peak: float) -> StepCost:
        """Return the cost of both together, and `peak` besides."""
        peak += self.peak + more.peak
        return StepCost(peak, self.work + more.work, self.operations + more.operations)

    def within(self, limit: StepCost) -> bool:
        return all(mine <= most for mine, most in zip(self, limit, strict=True))


NOTHING = StepCost(0, 0, 0)


def step_limit() -> StepCost:
    """Return the most that a step may take on this machine, which is the same each time: prompts are cut by it."""
    peak = max(_PEAK, machine_memory() // _SHARE // _NUMBER)
    if runtime.machine().cpu:
        return StepCost(peak, _WORK, _OPERATIONS_ON_CPU)
    return StepCost(peak, float("inf"), _OPERATIONS_ON_GPU)


@dataclass(frozen=True, slots=True)
class StepCosts:
    """The cost of steps: `measured` by their tokens, ascending, without a context; what each token of the context adds
    to the peak, in a step of one token and of `SEVERAL`, and to the work of each token; and what any context adds."""

    measured: tuple[tuple[int, StepCost], ...]
    of_context: float = 0.0
    of_context_for_several: float = 0.0
    work_of_context: float = 0.0
    of_state: StepCost = NOTHING

    def as_json(self) -> list[Any]:
        """Return the costs as JSON values: they come from a process that may say anything."""
        steps = [[tokens, *cost] for tokens, cost in self.measured]
        return [steps, self.of_context, self.of_context_for_several, self.work_of_context, [*self.of_state]]

    @classmethod
    def of_json(cls, value: list[Any]) -> StepCosts:
        """Return what `as_json` returned."""
        measured, *others = value
        steps = tuple((int(tokens), StepCost(*map(float, cost))) for tokens, *cost in measured)
        *growth, state = others
        of_context, for_several, work = map(float, growth)
        return cls(steps, of_context, for_several, work, StepCost(*map(float, state)))

    def of(self, tokens: int, context: int) -> StepCost | None:
        """Return the cost of a step of `tokens` after `context` tokens; None if it was too large to be measured."""
        if tokens <= 1:
            return self.measured[0][1].plus(self.of_state, self.of_context * context)
        growth = self.of_context_for_several * context * max(1.0, tokens / SEVERAL)
        for (fewer, less), (more, most) in zip(self.measured, self.measured[1:], strict=False):
            if tokens <= more:
                return less.towards(most, (tokens - fewer) / (more - fewer)).plus(self.of_state, growth)
        return None

    def largest(self, tokens: int, context: int, limit: StepCost) -> int:
        """Return how many of `tokens` a step may read after `context` tokens, 1 at least.

        What the context adds to the work takes as long as all the rest in small networks, and has a limit of its own.
        """
        tokens = max(1, min(tokens, int(_WORK_OF_CONTEXT / max(1.0, self.work_of_context * context))))
        while tokens > 1 and ((cost := self.of(tokens, context)) is None or not cost.within(limit)):
            tokens //= 2
        return tokens
