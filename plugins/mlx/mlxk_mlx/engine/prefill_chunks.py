"""How many prompt tokens one step reads."""

from __future__ import annotations

from dataclasses import dataclass

from mlxk_mlx.loading import runtime

_MIN_CHUNK = 16
_LARGEST_ON_CPU, _LARGEST_ON_GPU = 160_000_000, 640_000_000
"""Numbers in one array that a step computes: 640 MB of float32, or 1.3 GB of half precision. The logits of the largest
chunk have 134 and 537 million in networks with the largest vocabularies."""

_SCORE_ON_CPU = 4
"""A softmax takes as long as several products: half a second for 40 million scores."""
_WIDTH_WITH_FAST_BLAS, _WIDTH = 512, 64
"""Numbers of a key and a value whose products with a query and a score take as long as the softmax of the score."""

_MOST_SCORES = 1 << 29
"""Of a step, counted as numbers; a CPU computes 100 million in a second."""
_MOST_SCORES_OF_A_TOKEN = 1 << 32
"""70 billion parameters reach it after 140,000 tokens."""


@dataclass(frozen=True, slots=True)
class PrefillChunks:
    """Prompt tokens that one step may read, all rows together: while other rows decode, and while none does.

    The time of a step is the latency of a cancel, the wait before a new row is admitted, and the pause in the output
    of other rows. `largest` is the most numbers that one array may have in it. A score of the attention counts for
    `score` of them: for none on a GPU, which adds them up as they come. In heads whose key and value have `width`
    numbers it takes twice the time.
    """

    while_decoding: int
    alone: int
    rows: int
    largest: int
    score: int
    width: int

    @classmethod
    def of(cls, parameters: int) -> PrefillChunks:
        """Choose from the device and the network's size only, so that equal prompts are cut equally.

        On a CPU a step should take about a second: an old core does some 30 GFLOP/s with OpenBLAS, and 3 without it.
        Attention to a long context costs time in small networks too, so no chunk is larger than 512 tokens.
        """
        machine = runtime.start()
        if not machine.cpu:
            return cls(while_decoding=256, alone=2048, rows=4, largest=_LARGEST_ON_GPU, score=0, width=1)
        tokens = (18e9 if machine.fast_blas else 2e9) / max(1, parameters)
        alone = next((size for size in (512, 256, 128, 64) if size <= tokens), _MIN_CHUNK)
        return cls(
            max(_MIN_CHUNK, min(256, alone // 2)),
            alone,
            rows=8,
            largest=_LARGEST_ON_CPU,
            score=_SCORE_ON_CPU,
            width=_WIDTH_WITH_FAST_BLAS if machine.fast_blas else _WIDTH,
        )

    def together(self, reading: int, *, decoding: bool) -> int:
        """Return the tokens of all rows when `reading` rows read their prompts, and whether others are `decoding`."""
        budget = self.while_decoding if decoding else self.alone
        return max(_MIN_CHUNK, budget // reading) * reading

    def limit(self, tokens: int, numbers: int, scores: int = 0, products: int = 0) -> int:
        """Return how many of `tokens` a step may read, whose largest array has `numbers` for each; it computes `scores`
        of attention for each, in all layers together, from `products` numbers of keys and values."""
        tokens = min(tokens, self.largest // max(1, numbers))
        return max(1, min(tokens, _MOST_SCORES // max(1, self._cost(scores, products))))

    def longest(self, scores: int, products: int) -> int:
        """Return after how many tokens a step of one takes minutes, with `scores` from `products` numbers for each."""
        return _MOST_SCORES_OF_A_TOKEN // max(1, self._cost(scores, products))

    def _cost(self, scores: int, products: int) -> int:
        return self.score * (scores + products // self.width)
