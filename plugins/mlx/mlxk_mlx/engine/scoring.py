"""Scoring of prompts: the log probability of each prompt token, a chunk at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from mlxk_core.api.backends import PromptScored, Row, ScoredToken
from mlxk_mlx.engine.prompt_cache import Cache

_LOGITS = 1 << 25
"""Logits of one chunk: 128 MB of float32."""


class PromptScoring:
    """A row whose prompt is being scored.

    The network reads all prompt tokens but the last, which has no next prompt token to predict. `cache` then holds
    them, so that decoding reads no token a second time.
    """

    def __init__(self, network: Any, row: Row, vocab_size: int) -> None:
        self.row = row
        self.cache: Cache = make_prompt_cache(network)
        self.done = 0
        self._network = network
        self._alternatives = row.prompt_logprobs or 0
        self._longest = max(1, _LOGITS // vocab_size)

    @property
    def complete(self) -> bool:
        """Whether every prompt token has its score."""
        return self.done == len(self.row.prompt) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of its cache."""
        return sum(layer.nbytes for layer in self.cache)

    def advance(self, tokens: int) -> PromptScored:
        """Score at most `tokens` more tokens and return them."""
        prompt = self.row.prompt
        end = min(self.done + min(tokens, self._longest), len(prompt) - 1)
        scored: Sequence[ScoredToken] = ()
        if end > self.done:
            logits = self._network(mx.array([list(prompt[self.done : end])]), cache=self.cache)
            scored = _scores(logits[0].astype(mx.float32), list(prompt[self.done + 1 : end + 1]), self._alternatives)
            self.done = end
        return PromptScored(self.row.id, scored, finish=self.complete and self.row.max_tokens == 0)


def _scores(logits: mx.array, targets: list[int], alternatives: int) -> list[ScoredToken]:
    """Return the score of each target. `logits`: mx.array, shape [targets, vocab], float32."""
    totals = mx.logsumexp(logits, axis=-1, keepdims=True)
    chosen = mx.take_along_axis(logits, mx.array(targets)[:, None], axis=-1)  # [targets, 1]
    ranks = mx.sum(logits > chosen, axis=-1) + 1
    logprobs = (chosen - totals)[:, 0]
    count = min(alternatives, logits.shape[-1])
    if not count:
        mx.eval(logprobs, ranks)
        return [ScoredToken(*each) for each in zip(targets, logprobs.tolist(), ranks.tolist(), strict=True)]
    best = mx.argpartition(-logits, count - 1, axis=-1)[:, :count]  # [targets, count], in no order
    values = mx.take_along_axis(logits, best, axis=-1) - totals
    mx.eval(logprobs, ranks, best, values)
    return [
        ScoredToken(
            target,
            logprob,
            rank,
            tuple(sorted(zip(tokens, row, strict=True), key=lambda pair: (-pair[1], pair[0]))),
        )
        for target, logprob, rank, tokens, row in zip(
            targets, logprobs.tolist(), ranks.tolist(), best.tolist(), values.tolist(), strict=True
        )
    ]
