"""What the service may use at most."""

from __future__ import annotations

from dataclasses import dataclass

from mlxk_core._generation.stall_monitor import STALL_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resources of the service. `memory` and `cache_bytes` in bytes, `ttl` in seconds (None: models stay loaded).

    After `stall` seconds without progress of its engine a running request fails.
    """

    memory: int
    cache_bytes: int
    concurrency: int
    ttl: float | None
    stall: float = STALL_SECONDS
