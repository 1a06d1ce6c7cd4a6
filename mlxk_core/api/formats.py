"""Reasoning and tool-call formats: parsers, their context and their evidence."""

from __future__ import annotations

from mlxk_core._generation.extractor import (
    Cuttable,
    Extractor,
    ExtractorContext,
    PlainText,
    new_call_id,
)
from mlxk_core._generation.response_grammar import ResponseGrammar
from mlxk_core._host.specs import Evidence, Strength

__all__ = [
    "Cuttable",
    "Evidence",
    "Extractor",
    "ExtractorContext",
    "PlainText",
    "ResponseGrammar",
    "Strength",
    "new_call_id",
]
