"""The public API. The names most plugins need, importable from here; each topic is a submodule.

Importing this package is cheap: a submodule is imported when one of its names is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlxk_core.api.backends import (
        Detokenizer,
        Engine,
        EngineContext,
        Prefilled,
        Row,
        RowFailed,
        Sampled,
        StepEvent,
        Tokenizer,
    )
    from mlxk_core.api.formats import Extractor, ExtractorContext
    from mlxk_core.api.generation import (
        Channel,
        Delta,
        ExtractorEvent,
        Message,
        Sampling,
        Tool,
        ToolCall,
        ToolCallDelta,
    )
    from mlxk_core.api.hooks import (
        AgentEndpoint,
        AgentSetup,
        AgentSpec,
        BackendSpec,
        CommandSpec,
        ConstraintSpec,
        Evidence,
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
        hookimpl,
    )
    from mlxk_core.api.models import AddedToken, File, GGUFHeader, GGUFTensor, Model, Variant
    from mlxk_core.api.network import is_loopback, url_opener
    from mlxk_core.api.settings import setting

_TOPICS = {
    "backends": (
        "Detokenizer",
        "Engine",
        "EngineContext",
        "Prefilled",
        "Row",
        "RowFailed",
        "Sampled",
        "StepEvent",
        "Tokenizer",
    ),
    "formats": (
        "Extractor",
        "ExtractorContext",
    ),
    "generation": (
        "Channel",
        "Delta",
        "ExtractorEvent",
        "Message",
        "Sampling",
        "Tool",
        "ToolCall",
        "ToolCallDelta",
    ),
    "hooks": (
        "AgentEndpoint",
        "AgentSetup",
        "AgentSpec",
        "BackendSpec",
        "CommandSpec",
        "ConstraintSpec",
        "Evidence",
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
    ),
    "network": (
        "is_loopback",
        "url_opener",
    ),
    "settings": ("setting",),
    "models": (
        "AddedToken",
        "File",
        "GGUFHeader",
        "GGUFTensor",
        "Model",
        "Variant",
    ),
}
_TOPIC_OF = {name: topic for topic, names in _TOPICS.items() for name in names}

__all__ = [
    "AddedToken",
    "AgentEndpoint",
    "AgentSetup",
    "AgentSpec",
    "BackendSpec",
    "Channel",
    "CommandSpec",
    "ConstraintSpec",
    "Delta",
    "Detokenizer",
    "Engine",
    "EngineContext",
    "Evidence",
    "Extractor",
    "ExtractorContext",
    "ExtractorEvent",
    "File",
    "GGUFHeader",
    "GGUFTensor",
    "LifecycleListener",
    "Message",
    "Model",
    "ModelSource",
    "ModelSourceSpec",
    "Prefilled",
    "Quantization",
    "QuantizationDetectorSpec",
    "ReasoningExtractorSpec",
    "Row",
    "RowFailed",
    "Sampled",
    "Sampling",
    "ServerExtensionSpec",
    "SettingsSection",
    "StepEvent",
    "StopPolicy",
    "Strength",
    "Target",
    "Tokenizer",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "Variant",
    "Verdict",
    "hookimpl",
    "is_loopback",
    "setting",
    "url_opener",
]


def __getattr__(name: str) -> Any:
    if name not in _TOPIC_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_TOPIC_OF[name]}"), name)
    globals()[name] = value
    return value
