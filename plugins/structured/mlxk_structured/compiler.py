"""The constraint compiler: checks what a client sends, and compiles it for the tokens of one model."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

from mlxk_core.api.backends import Tokenizer
from mlxk_core.api.errors import InvalidConstraint
from mlxk_core.api.generation import Matches, Part, TokenConstraint, Vocabulary, leaves
from mlxk_core.api.processes import Slots
from mlxk_structured import checks, trial
from mlxk_structured.checks import check_here, check_steps, error_of, is_quick, new_matcher
from mlxk_structured.compiled_grammars import CompiledGrammar, CompiledGrammars, GrammarKey
from mlxk_structured.distinct import DistinctItems, TokenTexts
from mlxk_structured.json_scan import Walk
from mlxk_structured.lark import GRAMMARS, lark
from mlxk_structured.matcher import LexerMemory, Matcher
from mlxk_structured.parser_memory import ParserMemory, ParserShare
from mlxk_structured.tokenizer import Tokenizers, bytes_tokenizer, vocabulary_key
from mlxk_structured.verdicts import Fault, Verdict, Verdicts, fingerprint

_QUICK_SECONDS = 0.1
"""CPU time of the trials of what is compiled at once."""
_COMPILING = 1
"""Other grammars that are compiled at once: each may take a core and hundreds of megabytes meanwhile."""


class Compiler:
    """`SlowConstraintCompiler` on llguidance. Compiled grammars are kept; each row gets a copy.

    What is made for a model goes with its tokenizer: nothing that is kept here may refer to that.

    What is small and cheap is compiled at once. Everything else is first tried in another process (`trial`), so that
    nothing is compiled here that is not known to end.
    """

    def __init__(self) -> None:
        self._tokenizers = Tokenizers()
        self._pieces: weakref.WeakKeyDictionary[Tokenizer, TokenTexts] = weakref.WeakKeyDictionary()
        self._verdicts = Verdicts()
        self._compiled = CompiledGrammars()
        self._compiling = Slots(_COMPILING)
        self._parsers = ParserMemory()
        self._reading = Slots(1)
        """Of those that read a whole vocabulary."""

    def may_take_long(self, grammar: Part, vocabulary: Vocabulary | None = None, /) -> bool:
        try:
            key = fingerprint(grammar)
        except RecursionError:
            return False  # `check` refuses it at once
        if vocabulary is None:
            return self._verdicts.find(key) is None and not is_quick(grammar)
        known = self._compiled.find(vocabulary.tokenizer, (vocabulary_key(vocabulary), key)) is not None
        return not known and not self._compiles_quickly(grammar)

    def check(self, grammar: Part, /, *, waiting: Callable[[], None] = lambda: None) -> None:
        try:
            key = fingerprint(grammar)
        except RecursionError:
            check_here(grammar)
            return
        verdict = self._verdicts.find(key)
        if verdict is None:
            with self._verdicts.alone(key, waiting):
                verdict = self._verdicts.find(key) or self._judge(key, grammar, waiting)
        if verdict.fault is not None:
            raise verdict.fault.error()

    def _judge(self, key: str, grammar: Part, waiting: Callable[[], None]) -> Verdict:
        if is_quick(grammar):
            begun = time.thread_time()
            try:
                matcher = check_here(grammar)
                if any(isinstance(leaf, Matches) and leaf.kind in GRAMMARS for leaf in leaves(grammar)):
                    check_steps(matcher, _QUICK_SECONDS)  # a small grammar may be as ambiguous as a large one
                verdict = Verdict(seconds=time.thread_time() - begun)
            except InvalidConstraint as error:
                verdict = Verdict(Fault.of(error))
        else:
            verdict = trial.check(grammar, waiting)
        self._verdicts.remember(key, verdict)
        return verdict

    def compile(
        self, grammar: Part, vocabulary: Vocabulary, /, *, waiting: Callable[[], None] = lambda: None
    ) -> TokenConstraint:
        key = (vocabulary_key(vocabulary), fingerprint(grammar))
        compiled = self._compiled.find(vocabulary.tokenizer, key)
        if compiled is None:
            if self._compiles_quickly(grammar):
                compiled = self._compile(key, grammar, vocabulary)
            else:
                self._check_parts(grammar, waiting)
                with self._compiling.hold(waiting):
                    found = self._compiled.find(vocabulary.tokenizer, key)
                    compiled = found or self._compile(key, grammar, vocabulary)
        share = ParserShare(self._parsers)
        matcher = Matcher(compiled.matcher.deep_copy(), compiled.order, compiled.steps, compiled.lexer, share)
        if not compiled.written.distinct:
            return matcher
        return self._distinct(matcher, grammar, compiled, share, self._texts(vocabulary, waiting))

    def _check_parts(self, grammar: Part, waiting: Callable[[], None]) -> None:
        """Raise `InvalidConstraint` unless every part of `grammar` is known to end."""
        if trial.has_raw_patterns(grammar):  # the form of the call intersects them
            self.check(grammar, waiting=waiting)
        for part in leaves(grammar):
            if isinstance(part, Matches):
                self.check(part, waiting=waiting)

    def _compile(self, key: GrammarKey, grammar: Part, vocabulary: Vocabulary) -> CompiledGrammar:
        written = lark(grammar, vocabulary.markers)
        tokens = self._tokenizers.get(vocabulary)
        matcher = checks.compiled(tokens.tokenizer, written.text)
        lexer = LexerMemory(self._compiled.shrink)
        begun = time.thread_time()
        checks.find_first(matcher)
        lexer.add(time.thread_time() - begun)
        if matcher.is_error():
            raise error_of(grammar, matcher.get_error())
        memory, steps = self._memory(grammar), self._compiled.steps(key)
        compiled = CompiledGrammar(matcher, tokens.order, written, memory, lexer, steps)
        self._compiled.add(vocabulary.tokenizer, key, compiled)
        return compiled

    def _compiles_quickly(self, grammar: Part) -> bool:
        if not trial.has_raw_patterns(grammar):
            parts = [part for part in leaves(grammar) if isinstance(part, Matches)]
            verdicts = [self._verdicts.find(fingerprint(part)) for part in parts]
            if sum(_QUICK_SECONDS if each is None else each.seconds for each in verdicts) < _QUICK_SECONDS:
                return True
        return is_quick(grammar)

    def _memory(self, grammar: Part) -> int:
        """Return about what `grammar` takes once it is compiled, by the trials of its parts."""
        verdicts = map(self._verdicts.find, {fingerprint(part) for part in (grammar, *leaves(grammar))})
        return sum(verdict.memory for verdict in verdicts if verdict is not None)

    def _texts(self, vocabulary: Vocabulary, waiting: Callable[[], None]) -> TokenTexts:
        with self._reading.hold(waiting):
            texts = self._pieces.get(vocabulary.tokenizer)
            if texts is None:
                texts = self._pieces[vocabulary.tokenizer] = TokenTexts(vocabulary)
            return texts

    def _distinct(
        self, inner: Matcher, grammar: Part, compiled: CompiledGrammar, share: ParserShare, texts: TokenTexts
    ) -> TokenConstraint:
        written = compiled.written
        embedded = not isinstance(grammar, Matches)

        def shadow() -> Any:
            return new_matcher(bytes_tokenizer(), lark(grammar, {}).text if embedded else written.text)

        steps = compiled.steps
        return DistinctItems(inner, texts, Walk(written.distinct), shadow, steps, share, embedded=embedded)


_COMPILER = Compiler()


def compiler() -> Compiler:
    """The plugin's target: one compiler for all requests, since it caches."""
    return _COMPILER
