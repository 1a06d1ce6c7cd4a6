"""The grammar of a `response_template` whose fields have literal markers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlxk_core.api.formats import ExtractorContext, ResponseGrammar
from mlxk_core.api.generation import (
    Channel,
    Literal,
    Matches,
    OneOf,
    Part,
    Tool,
    ToolCallDelta,
    UpTo,
    optional,
    sequence,
)
from mlxk_mlx.formats import tool_call_grammar
from mlxk_mlx.formats.format_evidence import response_template
from mlxk_mlx.formats.format_names import tool_format_name
from mlxk_mlx.formats.response_template import CALLS, REASONING, RegionExtractor, extractor

_PLAIN = re.compile(r"(?:\\\W|[^\\.^$*+?{}\[\]()|])+")
_GAP = Matches("regex", r"\s{0,4}")
_PROBE = Tool(
    name="probe",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
)
_ARGUMENTS = {"a": "x y", "b": 7}


def grammar(context: ExtractorContext) -> ResponseGrammar | None:
    """Return the grammar of a response; None where the template marks its parts with patterns, or writes calls in a
    form that its own parser would read differently."""
    fields = (response_template(context.model) or {}).get("fields", {})
    parser = extractor(replace(context, tools=()))
    if not isinstance(parser, RegionExtractor):  # a template that transformers rejects: its text stays whole
        fields = {"tool_calls": {}}
    reasoning = [field for name, field in fields.items() if REASONING.search(name)]
    others = [field for name, field in fields.items() if not REASONING.search(name) and not CALLS.fullmatch(name)]
    if len(reasoning) > 1 or any("open" in field or "open_pattern" in field for field in others):
        return None
    form = ResponseGrammar()
    if reasoning:
        openers, closers = _literals(reasoning[0], "open"), _literals(reasoning[0], "close")
        if not closers:
            return None
        closes = sequence(UpTo(closers), _GAP)
        if isinstance(parser, RegionExtractor) and parser.region is Channel.REASONING:
            before: Part = closes
        elif openers:
            before = optional(sequence(OneOf(tuple(map(Literal, openers))), closes))
        else:
            return None
        form = ResponseGrammar(reasoning=before, reasoning_end=f"{closers[0]}\n\n")
    if not any(CALLS.fullmatch(name) for name in fields):
        return form
    written = tool_call_grammar.response_grammar(context) if _reads_its_form(context) else None
    if written is None:
        return form
    return replace(
        form, calls=written.calls, call_markers=written.call_markers, calls_after_text=written.calls_after_text
    )


def _literals(field: Mapping[str, Any], edge: str) -> tuple[str, ...]:
    """The texts of an edge; those of a pattern where it is a text with white space around it."""
    value = field.get(edge)
    if value is not None:
        return (value,) if isinstance(value, str) else tuple(value)
    pattern = str(field.get(f"{edge}_pattern", "")).removeprefix(r"\s*").removesuffix(r"\s*")
    return (re.sub(r"\\(\W)", r"\1", pattern),) if _PLAIN.fullmatch(pattern) else ()


def _reads_its_form(context: ExtractorContext) -> bool:
    """Whether the template's parser finds a call that is written in the form of the model's tool format."""
    name = tool_format_name(context.model)
    form = tool_call_grammar.wire_format(name, context.model.template_text) if name else None
    if form is None:
        return False
    parser = extractor(replace(context, tools=(_PROBE,), prompt_suffix=""))
    text = _call_text(form.calls((_PROBE,), False))
    events = [*parser.feed(text), *parser.close()]
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    try:
        return len(calls) == len(events) == 1 and json.loads(calls[0].arguments) == _ARGUMENTS
    except ValueError:
        return False


def _call_text(part: Part) -> str:
    """The text of a call of the probe."""
    match part:
        case Literal(text):
            return text
        case Matches(_, schema):
            kinds = {"object": json.dumps(_ARGUMENTS), "integer": "7", "string": '"x y"'}
            return kinds.get(schema.get("type", "") if isinstance(schema, Mapping) else "", "0")
        case OneOf(parts):
            return _call_text(parts[0])
    inner = getattr(part, "parts", None)
    if inner is not None:
        return "".join(map(_call_text, inner))
    return "" if hasattr(part, "least") else "x y"
