"""Hook marker and the descriptions that hooks return."""

from __future__ import annotations

import pluggy

from mlxk_core._host.specs import (
    SAMPLING_OPTIONS,
    AgentEndpoint,
    AgentSetup,
    AgentSpec,
    BackendSpec,
    CommandSpec,
    ConstraintSpec,
    Evidence,
    FetchingSource,
    LifecycleListener,
    ModelSource,
    ModelSourceSpec,
    Quantization,
    QuantizationDetectorSpec,
    ReasoningExtractorSpec,
    ServerExtensionSpec,
    SettingsSection,
    StopPolicy,
    Strength,
    Target,
    Verdict,
)

hookimpl = pluggy.HookimplMarker("mlxk")

__all__ = [
    "SAMPLING_OPTIONS",
    "AgentEndpoint",
    "AgentSetup",
    "AgentSpec",
    "BackendSpec",
    "CommandSpec",
    "ConstraintSpec",
    "Evidence",
    "FetchingSource",
    "LifecycleListener",
    "ModelSource",
    "ModelSourceSpec",
    "Quantization",
    "QuantizationDetectorSpec",
    "ReasoningExtractorSpec",
    "ServerExtensionSpec",
    "SettingsSection",
    "StopPolicy",
    "Strength",
    "Target",
    "Verdict",
    "hookimpl",
]
