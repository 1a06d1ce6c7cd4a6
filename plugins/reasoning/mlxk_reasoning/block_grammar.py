"""Grammar of a response in a block format: the block, white space, and the text before the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlxk_core.api.formats import ExtractorContext, ResponseGrammar
from mlxk_core.api.generation import Literal, Matches, OneOf, Part, UpTo, optional, sequence
from mlxk_reasoning.blocks import BlockExtractor

if TYPE_CHECKING:
    from mlxk_reasoning.formats import BlockFormat

_GAP = Matches("regex", r"\s{0,4}")
"""Markers are followed by white space; without a limit a model could write it for ever."""


def block_grammar(format: BlockFormat, context: ExtractorContext) -> ResponseGrammar:
    """Return the grammar of a response, from the state that the prompt ends in."""
    state = BlockExtractor(format, context.prompt_suffix).state
    closes = sequence(UpTo(format.closers), _GAP)
    if format.opening:
        closes = sequence(closes, format.opening, _GAP)
    if state.inside:
        reasoning: Part = closes
    elif state.framed:
        reasoning = sequence()
    else:
        openers = OneOf(tuple(Literal(opener + format.label) for opener in format.openers))
        block = sequence(openers, closes)
        reasoning = OneOf((block, Literal(format.direct))) if format.direct else optional(block)
    return ResponseGrammar(reasoning=reasoning, reasoning_end=format.closers[0] + (format.opening or "\n\n"))
