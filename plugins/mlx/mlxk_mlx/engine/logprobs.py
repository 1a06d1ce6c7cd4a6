"""Log probabilities of sampled tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Log probability of a sampled token, and of the most probable alternatives as (token id, logprob), best first."""

    token: float
    top: tuple[tuple[int, float], ...] = ()


def logprobs_of(wanted: Sequence[tuple[Any, int]]) -> dict[int, Logprobs]:
    """Return the log probabilities by generator uid, for responses of mlx-lm's batch generator and the number of
    alternatives to return for each.

    One computation serves all rows: one per row costs a third of the throughput.
    """
    table = mx.stack([response.logprobs for response, _ in wanted]).astype(mx.float32)  # [rows, vocab]
    chosen = mx.take_along_axis(table, mx.array([[response.token] for response, _ in wanted]), axis=-1)  # [rows, 1]
    most = max(count for _, count in wanted)
    if most == 0:
        return {response.uid: Logprobs(value) for (response, _), [value] in zip(wanted, chosen.tolist(), strict=True)}
    best = mx.argpartition(-table, most - 1, axis=-1)[:, :most]  # [rows, most], in no order
    values = mx.take_along_axis(table, best, axis=-1)
    mx.eval(chosen, best, values)
    found = {}
    for (response, count), [value], tokens, row in zip(
        wanted, chosen.tolist(), best.tolist(), values.tolist(), strict=True
    ):
        possible = [pair for pair in zip(tokens, row, strict=True) if pair[1] > -math.inf]  # not masked
        ranked = sorted(possible, key=lambda pair: (-pair[1], pair[0]))
        found[response.uid] = Logprobs(value, tuple(ranked[:count]))
    return found
