"""Totals of the service since its start."""

from __future__ import annotations

from dataclasses import dataclass


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
