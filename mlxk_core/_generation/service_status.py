"""The state of the service at one moment, for status pages."""

from __future__ import annotations

from dataclasses import dataclass

from mlxk_core._generation.counters import Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentModel:
    """A loaded model.

    `memory` in bytes, of which the prompt cache holds `prompt_cache`; `variant` is the GGUF variant, None without one;
    `ttl` is how many idle seconds it stays loaded (None: without limit).
    """

    name: str
    revision: str | None
    variant: str | None
    backend: str
    leases: int
    running: int
    memory: int
    prompt_cache: int
    idle_seconds: float
    ttl: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """The service at one moment. `memory` in bytes; `reserve` requests run in addition to
    `concurrency`, of clients that have none running; `seconds_since_progress` is 0 unless `busy`. With `failed` the
    engine thread has ended after an error: every request fails until the process is started again."""

    models: tuple[ResidentModel, ...]
    loading: str | None
    active: int
    waiting: int
    concurrency: int
    reserve: int
    queue: int
    memory: int
    busy: bool
    seconds_since_progress: float
    failed: bool
    counters: Counters
