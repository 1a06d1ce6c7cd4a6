"""Plugin of the reasoning formats, and of the tokens that end their answers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from mlxk_core.api import ReasoningExtractorSpec, StopPolicy, hookimpl

if TYPE_CHECKING:
    from mlxk_core.api import Extractor, ExtractorContext, Model
    from mlxk_core.api.formats import ResponseGrammar
    from mlxk_reasoning.formats import BlockFormat


@hookimpl
def mlxk_reasoning_extractors() -> Iterable[ReasoningExtractorSpec]:
    # Imported here: the table of formats takes 10 ms, and a run that asks for commands only does without it.
    from mlxk_reasoning.evidence import HARMONY, evidence
    from mlxk_reasoning.formats import BLOCK_FORMATS

    yield ReasoningExtractorSpec(
        name=HARMONY,
        summary="gpt-oss: messages on the channels analysis, commentary and final; calls of functions",
        matches=partial(evidence, name=HARMONY),
        target="mlxk_reasoning.harmony:HarmonyExtractor",
        tool_calls="own",
        grammar="mlxk_reasoning.harmony_grammar:harmony_grammar",
    )
    for row in BLOCK_FORMATS:
        yield ReasoningExtractorSpec(
            name=row.name,
            summary=row.summary,
            matches=partial(evidence, name=row.name),
            target=partial(_extractor, row),
            grammar=partial(_grammar, row),
        )


def _extractor(row: BlockFormat, context: ExtractorContext) -> Extractor:
    from mlxk_reasoning.blocks import BlockExtractor

    return BlockExtractor(row, context.prompt_suffix, calls_tools=bool(context.tools))


def _grammar(row: BlockFormat, context: ExtractorContext) -> ResponseGrammar:
    from mlxk_reasoning.block_grammar import block_grammar

    return block_grammar(row, context)


@hookimpl
def mlxk_stop_policies(model: Model) -> Iterable[StopPolicy]:
    from mlxk_reasoning.evidence import choose, writes_harmony
    from mlxk_reasoning.formats import BLOCK_FORMATS

    # <|end|> ends a message of harmony, not the turn: stopping there cuts the answer off after the analysis. In other
    # formats (Phi-3) it is the stop, so it is kept only where harmony's other tokens are.
    if writes_harmony(model):
        yield StopPolicy(stop_tokens=frozenset({"<|return|>", "<|call|>"}), keep_tokens=frozenset({"<|end|>"}))
    # What opens or closes a block ends no turn, though it may stand at a turn's end as well (Kimi K3's <|close|>).
    chosen, _ = choose(model)
    yield from (StopPolicy(keep_tokens=frozenset(row.tokens)) for row in BLOCK_FORMATS if row.name == chosen)
