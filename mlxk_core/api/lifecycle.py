"""Life-cycle events, as listeners of the hook `mlxk_lifecycle` receive them."""

from __future__ import annotations

from mlxk_core._generation.lifecycle import (
    LifecycleEvent,
    ModelLoaded,
    ModelUnloaded,
    RequestAccepted,
    RequestFinished,
)

__all__ = [
    "LifecycleEvent",
    "ModelLoaded",
    "ModelUnloaded",
    "RequestAccepted",
    "RequestFinished",
]
