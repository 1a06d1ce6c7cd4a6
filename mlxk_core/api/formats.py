"""Reasoning and tool-call formats: parsers, their context and their evidence."""

from __future__ import annotations

from mlxk_core._generation.answer_grammar import ResponseGrammar
from mlxk_core._generation.extractor import (
    Evidence,
    Extractor,
    ExtractorContext,
    PlainText,
    Strength,
    new_call_id,
)

__all__ = [
    "Evidence",
    "Extractor",
    "ExtractorContext",
    "PlainText",
    "ResponseGrammar",
    "Strength",
    "new_call_id",
]
