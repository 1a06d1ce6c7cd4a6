"""How many prompt tokens one step reads."""

from __future__ import annotations

from dataclasses import dataclass

from mlxk_mlx.loading import runtime

_MIN_CHUNK = 16


@dataclass(frozen=True, slots=True)
class PrefillChunks:
    """Prompt tokens that one step may read, all rows together: while other rows decode, and while none does.

    The time of a step is the latency of a cancel, the wait before a new row is admitted, and the pause in the output
    of other rows.
    """

    while_decoding: int
    alone: int
    rows: int

    @classmethod
    def of(cls, parameters: int) -> PrefillChunks:
        """Choose from the device and the network's size only, so that equal prompts are cut equally.

        On a CPU a step should take about a second: an old core does some 30 GFLOP/s with OpenBLAS, and 3 without it.
        Attention to a long context costs time in small networks too, so no chunk is larger than 512 tokens.
        """
        machine = runtime.start()
        if not machine.cpu:
            return cls(while_decoding=256, alone=2048, rows=4)
        tokens = (18e9 if machine.fast_blas else 2e9) / max(1, parameters)
        alone = next((size for size in (512, 256, 128, 64) if size <= tokens), _MIN_CHUNK)
        return cls(while_decoding=max(_MIN_CHUNK, min(256, alone // 2)), alone=alone, rows=8)

    def for_each(self, reading: int, *, decoding: bool) -> int:
        """Return the tokens of one row when `reading` rows read their prompts, and whether others are `decoding`."""
        budget = self.while_decoding if decoding else self.alone
        return max(_MIN_CHUNK, budget // max(1, reading))
