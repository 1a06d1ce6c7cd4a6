"""The one module a plugin's author imports: markers, descriptions, protocols, values and errors."""

from __future__ import annotations

import pluggy

from mlxk_core.generation.engine import (
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
from mlxk_core.generation.events import Channel, Delta, ExtractorEvent, ToolCallDelta
from mlxk_core.generation.extraction import Evidence, Extractor, ExtractorContext, Strength
from mlxk_core.generation.messages import Message, Sampling, Tool, ToolCall
from mlxk_core.models.gguf import GGUFHeader, GGUFTensor
from mlxk_core.models.model import AddedToken, File, Model
from mlxk_core.specs import (
    BackendSpec,
    CommandSpec,
    ModelSource,
    ModelSourceSpec,
    Quantization,
    QuantizationDetectorSpec,
    ReasoningExtractorSpec,
    StopPolicy,
    Variant,
    Verdict,
)

hookimpl = pluggy.HookimplMarker("mlxk")

__all__ = [
    "AddedToken",
    "BackendSpec",
    "Channel",
    "CommandSpec",
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
    "StepEvent",
    "StopPolicy",
    "Strength",
    "Tokenizer",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "Variant",
    "Verdict",
    "hookimpl",
]
