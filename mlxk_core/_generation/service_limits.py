"""Resource limits of the generation service."""

from __future__ import annotations

from dataclasses import dataclass

from mlxk_core._generation.stall_monitor import STALL_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """What the service may use at most."""

    memory: int
    """Bytes of all loaded models."""
    cache_bytes: int
    """Bytes of the prompt cache of one engine."""
    concurrency: int
    """Requests that run at once."""
    ttl: float | None
    """Idle seconds after which a model is unloaded (None: never)."""
    stall: float = STALL_SECONDS
    """Seconds without progress of its engine after which a running request fails."""
    shared: bool = False
    """Whether clients depend on this process that have nothing to do with a model that is loaded."""

    @property
    def reserve(self) -> int:
        """Requests that run in addition, of clients that have none running: one client with endless responses does not
        make the others wait."""
        return self.concurrency // 4
