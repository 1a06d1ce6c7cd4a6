"""The engine protocol: what a backend provides and what it is given."""

from __future__ import annotations

from mlxk_core._generation.engine import Engine, EngineContext, Prefilled, Row, RowFailed, Sampled, StepEvent
from mlxk_core._generation.tokenizer import Detokenizer, Tokenizer

__all__ = [
    "Detokenizer",
    "Engine",
    "EngineContext",
    "Prefilled",
    "Row",
    "RowFailed",
    "Sampled",
    "StepEvent",
    "Tokenizer",
]
