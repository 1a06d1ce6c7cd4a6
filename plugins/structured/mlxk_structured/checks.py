"""Compile grammars without a model, to find out whether they are valid, and which part is at fault."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import llguidance

from mlxk_core.api.errors import InvalidConstraint
from mlxk_core.api.generation import Matches, Part, leaves
from mlxk_structured import effort, json_schema
from mlxk_structured.lark import json_grammar, lark
from mlxk_structured.matcher import SLOW, STEP_SECONDS, reason_of
from mlxk_structured.tokenizer import bytes_tokenizer

_STEPS = 128
_PLACES = 200
"""Parts of a schema that are tried to find the one at fault."""
_SEARCH_SECONDS = 2.0
"""How long they are tried: a part of a large schema takes as long as the schema."""
# A hostile grammar costs at most this: about 60 MB, and half a second in a step.
_LIMITS = llguidance.LLParserLimits(max_lexer_states=50_000, verbose_errors=False)

_FULL = "grammar.symbols.len()"
"""In the error of a grammar that has more than 65,525 symbols."""


def new_matcher(tokenizer: Any, text: str) -> Any:
    """Return a matcher of a Lark grammar, which may be in error: also if the grammar has no answer at all."""
    matcher = compiled(tokenizer, text)
    find_first(matcher)
    return matcher


def compiled(tokenizer: Any, text: str) -> Any:
    """Return a matcher of a Lark grammar, which may be in error."""
    grammar = llguidance.LLMatcher.grammar_from_lark(text)
    return llguidance.LLMatcher(tokenizer, grammar, log_level=0, limits=_LIMITS)


def find_first(matcher: Any) -> None:
    """Find the tokens that an answer may begin with. `matcher` is in error if there are none."""
    if not matcher.is_error():
        matcher.compute_bitmask()


def check_here(grammar: Part) -> Any:
    """Compile `grammar` without a model, in this process, and return the result. Raises `InvalidConstraint`."""
    matcher = new_matcher(bytes_tokenizer(), lark(grammar, {}).text)
    if matcher.is_error():
        raise error_of(grammar, matcher.get_error())
    return matcher


def check_steps(matcher: Any, seconds: float = _STEPS * STEP_SECONDS) -> None:
    """Raise `InvalidConstraint` for a compiled grammar of which no beginning of a text can be read within `seconds` of
    CPU time."""
    begun = time.thread_time()
    for _ in range(_STEPS):
        mask = matcher.compute_bitmask()
        token = next((8 * i + (byte & -byte).bit_length() - 1 for i, byte in enumerate(mask) if byte), None)
        if token is None or matcher.is_stopped() or not matcher.consume_token(token):
            break
        if time.thread_time() - begun > seconds:
            raise InvalidConstraint("constraint", SLOW)
    if matcher.is_error():
        raise InvalidConstraint("constraint", f"it is too complex: {reason_of(matcher.get_error())}")


def is_quick(grammar: Part) -> bool:
    """Return whether `grammar` compiles, or is found invalid, in a few milliseconds."""
    if not effort.is_small(grammar):
        return False
    try:
        return effort.is_quick(grammar, lark(grammar, {}))
    except InvalidConstraint:
        return True


def error_of(grammar: Part, error: str) -> InvalidConstraint:
    """The error that names the part of a schema which cannot be compiled, as far as that is known."""
    if _FULL in error and not isinstance(grammar, Matches):
        return InvalidConstraint("constraint", "it is too large: the schemas of all tools together")
    for leaf in leaves(grammar):
        if not isinstance(leaf, Matches):
            continue
        if leaf.kind != "json_schema":
            if isinstance(grammar, Matches):
                return InvalidConstraint(leaf.kind, f"it is not valid: {reason_of(error)}")
            continue
        schema = json_schema.normalize(leaf.value, lenient=leaf.lenient)
        # Of a grammar with many schemas, only one that does not compile alone is searched.
        if isinstance(grammar, Matches) or (_error(schema) is not None):
            for path, reason in _faults(schema):
                return InvalidConstraint(leaf.kind, reason, path=path)
    return InvalidConstraint("constraint", f"it cannot be compiled: {reason_of(error)}")


def _error(schema: json_schema.Schema, part: Mapping[str, Any] | None = None) -> str | None:
    """Return the error of a schema or of a part of it, None if it compiles."""
    matcher = new_matcher(bytes_tokenizer(), f"%llguidance {{}}\nstart: {json_grammar(schema, part)}\n")
    return str(matcher.get_error()) if matcher.is_error() else None


def _faults(schema: json_schema.Schema) -> Iterator[tuple[str, str]]:
    """Parts of a schema that do not compile, innermost first."""
    deadline = time.monotonic() + _SEARCH_SECONDS
    for path, part in schema.places[:_PLACES]:
        if time.monotonic() > deadline:
            return
        error = _error(schema, part)
        if error is not None:
            yield path, reason_of(error)
