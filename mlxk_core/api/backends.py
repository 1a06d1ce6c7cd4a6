"""The engine protocol: what a backend provides and what it is given."""

from __future__ import annotations

from mlxk_core._generation.engine import (
    EmbeddingEngine,
    Engine,
    EngineContext,
    Pooling,
    Prefilled,
    PromptScored,
    Row,
    RowFailed,
    Sampled,
    ScoredToken,
    StepEvent,
)
from mlxk_core._generation.row_check import check_row
from mlxk_core._generation.tokenizer import Detokenizer, Tokenizer

__all__ = [
    "Detokenizer",
    "EmbeddingEngine",
    "Engine",
    "EngineContext",
    "Pooling",
    "Prefilled",
    "PromptScored",
    "Row",
    "RowFailed",
    "Sampled",
    "ScoredToken",
    "StepEvent",
    "Tokenizer",
    "check_row",
]
