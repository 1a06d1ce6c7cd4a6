"""From the prompt of a request to the row its engine decodes, and the pipeline that reads the result."""

from __future__ import annotations

from dataclasses import dataclass

from mlxk_core._generation.constraint import TokenConstraint
from mlxk_core._generation.engine import Row
from mlxk_core._generation.events import Started
from mlxk_core._generation.extractor import ExtractorContext
from mlxk_core._generation.jobs import Resident
from mlxk_core._generation.min_tokens import MinTokens
from mlxk_core._generation.pipeline import TextPipeline
from mlxk_core._generation.prompts import Prompt
from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.request_plan import Plan
from mlxk_core._generation.response_grammar import is_constrained
from mlxk_core._generation.stop_tokens import stop_tokens
from mlxk_core._generation.tool_call_filter import ToolCallFilter
from mlxk_core._models.token_budget import budget


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRow:
    """A checked row, the pipeline for its tokens, and the event that announces both to the consumer."""

    row: Row
    pipeline: TextPipeline
    started: Started

    @property
    def needs_engine(self) -> bool:
        """Whether there is anything to compute: a token, or the scores of the prompt."""
        return _needs_engine(self.row)


def prepare(
    request: GenerationRequest,
    plan: Plan,
    resident: Resident,
    prompt: Prompt,
    *,
    id: int,
    compiled: TokenConstraint | None = None,
) -> PreparedRow:
    """Return the row `id` for `prompt` on a loaded model. Nothing is submitted.

    Raises `ContextLengthExceeded`, `InvalidOption`, `InvalidConstraint`, what `Engine.check` raises, or
    `LongCompilation`: then call it again with `compiled`, the result of its work.
    """
    engine = resident.engine
    context = ExtractorContext(model=request.model, prompt_suffix=prompt.suffix, tools=request.tools)
    allowed = budget(plan.window, len(prompt.tokens), asked=request.max_tokens, policy=request.token_policy)
    stops = _stop_tokens(request, plan, resident, prompt)
    constraint = _constraint(plan, resident, prompt, context, compiled)
    if request.min_tokens and stops:
        constraint = MinTokens(constraint, request.min_tokens, stops, engine.tokenizer.vocab_size)
    row = Row(
        id=id,
        prompt=prompt.tokens,
        max_tokens=allowed,
        sampling=request.sampling,
        stop_tokens=stops,
        constraint=constraint,
        prompt_logprobs=request.prompt_logprobs,
    )
    if _needs_engine(row):
        engine.check(row)
    parser = plan.formats.response_parser(
        context, generic_tools=prompt.generic_tools, constrained=request.constraint is not None
    )
    calls = ToolCallFilter(request.tools, parallel=request.parallel_calls)
    notes = (*prompt.notes, *_budget_notes(request, plan, allowed))
    return PreparedRow(
        row=row,
        pipeline=TextPipeline(engine.tokenizer, parser, plan.stop_strings, calls),
        started=Started(len(prompt.tokens), allowed, plan.formats.name, notes, prompt.text),
    )


def _needs_engine(row: Row) -> bool:
    return row.max_tokens > 0 or row.prompt_logprobs is not None


def _stop_tokens(request: GenerationRequest, plan: Plan, resident: Resident, prompt: Prompt) -> frozenset[int]:
    of_request = frozenset(request.stop_tokens)
    if request.ignore_eos and not is_constrained(request):  # what is constrained ends where its grammar does
        return of_request
    return of_request | stop_tokens(resident, plan.stop_policy) | prompt.stop_tokens


def _constraint(
    plan: Plan, resident: Resident, prompt: Prompt, context: ExtractorContext, compiled: TokenConstraint | None
) -> TokenConstraint | None:
    if plan.constraint is None:
        return None
    stops = stop_tokens(resident, plan.stop_policy)
    return plan.constraint.token_constraint(
        resident, stops, context, generic_tools=prompt.generic_tools, compiled=compiled
    )


def _budget_notes(request: GenerationRequest, plan: Plan, allowed: int) -> tuple[str, ...]:
    if request.max_tokens is None or allowed >= request.max_tokens:
        return ()
    return (
        f"max_tokens lowered from {request.max_tokens:,} to {allowed:,}, the room after the prompt in the "
        f"context of {plan.window:,} tokens.",
    )
