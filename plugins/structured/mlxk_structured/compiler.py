"""The constraint compiler: checks what a client sends, and compiles it for the tokens of one model."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import llguidance

from mlxk_core.api.backends import Tokenizer
from mlxk_core.api.errors import ConstraintFailure, InvalidConstraint
from mlxk_core.api.generation import Matches, Part, TokenConstraint, Vocabulary, leaves
from mlxk_structured import json_schema, trial
from mlxk_structured.distinct import DistinctItems, TokenTexts
from mlxk_structured.json_scan import Walk
from mlxk_structured.lark import Grammar, json_grammar, lark
from mlxk_structured.tokenizer import Tokenizers, bytes_tokenizer

_CACHED = 128
_PLACES = 200
"""Parts of a schema that are tried to find the one at fault."""
# A hostile grammar costs at most this: about 60 MB, and 20 ms in a step.
_LIMITS = llguidance.LLParserLimits(max_lexer_states=50_000, verbose_errors=False)

_FULL = "grammar.symbols.len()"
"""In the error of a grammar that has more than 65,525 symbols."""


class Compiler:
    """`ConstraintCompiler` on llguidance. Compiled grammars are cached, by model; each row gets a copy."""

    def __init__(self) -> None:
        self._tokenizers = Tokenizers()
        self._lock = threading.Lock()
        self._pieces: weakref.WeakKeyDictionary[Tokenizer, TokenTexts] = weakref.WeakKeyDictionary()
        self._checked: OrderedDict[Part | str, None] = OrderedDict()
        self._compiled: OrderedDict[tuple[int, str], tuple[Any, Any]] = OrderedDict()

    def check(self, grammar: Part, /, *, is_trial: bool = False) -> None:
        written = lark(grammar, {})
        text = written.text
        with self._lock:
            if text in self._checked:
                self._checked.move_to_end(text)
                return
        if not is_trial and (written.deep or trial.is_needed(grammar, text)):
            trial.check(grammar)
        matcher = _matcher(bytes_tokenizer(), text)
        if matcher.is_error():
            raise _at_fault(grammar, matcher.get_error())
        with self._lock:
            _remember(self._checked, text, None)

    def compile(self, grammar: Part, vocabulary: Vocabulary, /) -> TokenConstraint:
        tokenizer = self._tokenizers.get(vocabulary)
        written = lark(grammar, vocabulary.markers)
        text = written.text
        key = (id(tokenizer), text)
        with self._lock:
            found = self._compiled.get(key)
            if found is not None:
                self._compiled.move_to_end(key)
        if found is None:
            self._try_raw_patterns(grammar)
            matcher = _matcher(tokenizer, text)
            if matcher.is_error():
                raise _at_fault(grammar, matcher.get_error())
            found = (matcher, tokenizer)  # the tokenizer is kept: its id is the key
            with self._lock:
                _remember(self._compiled, key, found)
        matcher = Matcher(found[0].deep_copy())
        return self._distinct(matcher, grammar, written, vocabulary) if written.distinct else matcher

    def _try_raw_patterns(self, grammar: Part) -> None:
        """Try patterns outside JSON, where the form of the call intersects them, in the process of a trial."""
        if not trial.has_raw_patterns(grammar):
            return
        text = lark(grammar, {}).text  # as it is tried: without the markers of one model
        with self._lock:
            if text in self._checked:
                return
        trial.check(grammar)
        with self._lock:
            _remember(self._checked, text, None)

    def _distinct(
        self, inner: TokenConstraint, grammar: Part, written: Grammar, vocabulary: Vocabulary
    ) -> TokenConstraint:
        embedded = not isinstance(grammar, Matches)

        def shadow() -> Any:
            return _matcher(bytes_tokenizer(), lark(grammar, {}).text if embedded else written.text)

        with self._lock:
            pieces = self._pieces.get(vocabulary.tokenizer)
        if pieces is None:
            pieces = TokenTexts(vocabulary)  # outside the lock: it reads the whole vocabulary
            with self._lock:
                pieces = self._pieces.setdefault(vocabulary.tokenizer, pieces)
        return DistinctItems(inner, pieces, Walk(written.distinct), shadow, embedded=embedded)


class Matcher:
    """`TokenConstraint` on one llguidance matcher."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    @property
    def complete(self) -> bool:
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    def mask(self) -> bytes | None:
        mask: bytes = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise ConstraintFailure(f"The constraint is too complex: {_reason(self._matcher.get_error())}.")
        return mask

    def accept(self, token: int, /) -> None:
        if not self._matcher.consume_token(token):
            raise ConstraintFailure(
                f"The constraint does not allow token {token}: {_reason(self._matcher.get_error())}."
            )


def _matcher(tokenizer: Any, text: str) -> Any:
    """Return a matcher of a Lark grammar, which may be in error: also if the grammar has no answer at all."""
    grammar = llguidance.LLMatcher.grammar_from_lark(text)
    matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0, limits=_LIMITS)
    if not matcher.is_error():
        matcher.compute_bitmask()  # a grammar without any answer shows here
    return matcher


def _remember(cache: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    cache[key] = value
    while len(cache) > _CACHED:
        cache.popitem(last=False)


def _at_fault(grammar: Part, error: str) -> InvalidConstraint:
    """The error that names the part of a schema which cannot be compiled, as far as that is known."""
    if _FULL in error and not isinstance(grammar, Matches):
        return InvalidConstraint("constraint", "it is too large: the schemas of all tools together")
    for leaf in leaves(grammar):
        if not isinstance(leaf, Matches):
            continue
        if leaf.kind != "json_schema":
            if isinstance(grammar, Matches):
                return InvalidConstraint(leaf.kind, f"it is not valid: {_reason(error)}")
            continue
        schema = json_schema.normalize(leaf.value, lenient=leaf.lenient)
        # Of a grammar with many schemas, only one that does not compile alone is searched.
        if isinstance(grammar, Matches) or (_error(schema) is not None):
            for path, reason in _faults(schema):
                return InvalidConstraint(leaf.kind, reason, path=path)
    return InvalidConstraint("constraint", f"it cannot be compiled: {_reason(error)}")


def _error(schema: json_schema.Schema, part: Mapping[str, Any] | None = None) -> str | None:
    """Return the error of a schema or of a part of it, None if it compiles."""
    matcher = _matcher(bytes_tokenizer(), f"%llguidance {{}}\nstart: {json_grammar(schema, part)}\n")
    return str(matcher.get_error()) if matcher.is_error() else None


def _faults(schema: json_schema.Schema) -> Iterator[tuple[str, str]]:
    """Parts of a schema that do not compile, innermost first."""
    for path, part in schema.places[:_PLACES]:
        error = _error(schema, part)
        if error is not None:
            yield path, _reason(error)


def _reason(error: str) -> str:
    """llguidance's own words, without its internal state."""
    text = error.partition("\n")[0].rpartition("failed to compile JSON schema: ")[2].strip().rstrip(".")
    if not text or text.startswith(("NoExtension", "Unsatisfiable schema: anyOf is empty")):
        return "no text matches it"
    return text if len(text) <= 200 else f"{text[:197]}..."


_COMPILER = Compiler()


def compiler() -> Compiler:
    """The plugin's target: one compiler for all requests, since it caches."""
    return _COMPILER
