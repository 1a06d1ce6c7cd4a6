"""The engine protocol: what a backend provides, and what it receives."""

from __future__ import annotations

from mlxk_core._generation.engine import (
    CrossEncoderEngine,
    EmbeddingEngine,
    Engine,
    EngineContext,
    NextTokenEngine,
    Pooling,
    Prefilled,
    PromptCachingEngine,
    PromptScored,
    Render,
    Row,
    RowFailed,
    RowMemoryEngine,
    Sampled,
    ScoredToken,
    StepEvent,
)
from mlxk_core._generation.machine_memory import trim_heap
from mlxk_core._generation.row_check import check_row
from mlxk_core._generation.tokenizer import Detokenizer, PairTokenizer, Tokenizer, TokenPair

__all__ = [
    "CrossEncoderEngine",
    "Detokenizer",
    "EmbeddingEngine",
    "Engine",
    "EngineContext",
    "NextTokenEngine",
    "PairTokenizer",
    "Pooling",
    "Prefilled",
    "PromptCachingEngine",
    "PromptScored",
    "Render",
    "Row",
    "RowFailed",
    "RowMemoryEngine",
    "Sampled",
    "ScoredToken",
    "StepEvent",
    "TokenPair",
    "Tokenizer",
    "check_row",
    "trim_heap",
]
