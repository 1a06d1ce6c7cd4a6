"""Grammar of a harmony response: analysis, then a final message or function calls."""

from __future__ import annotations

from collections.abc import Sequence

from mlxk_core.api.formats import ExtractorContext, ResponseGrammar
from mlxk_core.api.generation import Matches, OneOf, Part, Repeat, Tool, UpTo, optional, sequence
from mlxk_reasoning.harmony import END
from mlxk_reasoning.header import CHANNEL, CONSTRAIN, MESSAGE, ROLE, START

_FINAL = f"{CHANNEL}final{MESSAGE}"
_NEXT = f"{START}{ROLE}"
_KIND = optional(OneOf((sequence(f" {CONSTRAIN}json"), sequence(f"{CONSTRAIN}json"), sequence(" json"))))


def harmony_grammar(context: ExtractorContext) -> ResponseGrammar | None:
    """Return the grammar of a response, None where the prompt begins a message that is neither analysis nor final."""
    _, begun, header = context.prompt_suffix.rpartition(f"{START}{ROLE}")
    analysis = sequence(f"{CHANNEL}analysis{MESSAGE}", UpTo((END,)), _NEXT)
    reasoning: Part = Repeat(analysis)
    if begun and header == _FINAL:
        return ResponseGrammar()
    if begun and header == f"{CHANNEL}analysis{MESSAGE}":
        reasoning = sequence(UpTo((END,)), _NEXT, reasoning)
    elif begun and header:
        return None
    return ResponseGrammar(
        reasoning=reasoning,
        reasoning_end=f"{END}{_NEXT}{_FINAL}",
        before_answer=sequence(f"{CHANNEL}final", _KIND, MESSAGE),
        calls=_calls,
        calls_after_text=False,
    )


def _calls(tools: Sequence[Tool], parallel: bool) -> Part:
    """One call: a response of harmony ends with the first one."""
    return OneOf(
        tuple(
            sequence(
                _header(f"to=functions.{tool.name}"),
                Matches("json_schema", tool.parameters or {"type": "object"}, not tool.strict),
            )
            for tool in tools
        )
    )


def _header(recipient: str) -> Part:
    """The recipient after the channel, as models write it, or after the role, as templates write it in a history."""
    channel = OneOf(tuple(sequence(f"{CHANNEL}{name}") for name in ("commentary", "analysis")))
    return sequence(OneOf((sequence(channel, f" {recipient}"), sequence(f" {recipient}", channel))), _KIND, MESSAGE)
