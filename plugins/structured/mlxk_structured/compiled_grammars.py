"""Compiled grammars that are kept for the next requests, within one budget for all models."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from mlxk_core.api.backends import Tokenizer
from mlxk_structured.lark import Grammar
from mlxk_structured.matcher import LexerMemory, StepTime
from mlxk_structured.token_order import TokenOrder

GrammarKey = tuple[tuple[frozenset[int], frozenset[int]], str]
"""A vocabulary of the model, and the fingerprint of a grammar."""

_BYTES = 256 << 20
_LEAST = 2 << 20
"""What a grammar counts for, in bytes: those that are compiled without a trial take as much."""
_STEP_TIMES = 1024


@dataclass(slots=True)
class CompiledGrammar:
    """A grammar compiled for one model. `order` has llguidance's numbers of the model's tokens, `compiled` is what it
    takes in bytes before a row uses it."""

    matcher: Any
    order: TokenOrder
    written: Grammar
    compiled: int
    lexer: LexerMemory
    steps: StepTime
    last_use: int = field(default=0, init=False)

    @property
    def memory(self) -> int:
        return max(self.compiled, _LEAST) + self.lexer.memory


class CompiledGrammars:
    """The grammars that were used last. What is kept for a model goes with its tokenizer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses = itertools.count()
        self._of_models: weakref.WeakKeyDictionary[Tokenizer, dict[GrammarKey, CompiledGrammar]]
        self._of_models = weakref.WeakKeyDictionary()
        self._steps: OrderedDict[str, StepTime] = OrderedDict()

    def find(self, tokenizer: Tokenizer, key: GrammarKey) -> CompiledGrammar | None:
        with self._lock:
            found = self._of_models.get(tokenizer, {}).get(key)
            if found is not None:
                found.last_use = next(self._uses)
            return found

    def add(self, tokenizer: Tokenizer, key: GrammarKey, compiled: CompiledGrammar) -> None:
        with self._lock:
            compiled.last_use = next(self._uses)
            self._of_models.setdefault(tokenizer, {})[key] = compiled
        self.shrink()

    def steps(self, key: GrammarKey) -> StepTime:
        """Return the time of the steps of a grammar, which outlasts what is compiled."""
        with self._lock:
            steps = self._steps.setdefault(key[1], StepTime())
            self._steps.move_to_end(key[1])
            while len(self._steps) > _STEP_TIMES:
                self._steps.popitem(last=False)
            return steps

    def shrink(self) -> None:
        """Drop what is full, and what was not used for longest until the others are within the budget."""
        dropped = []
        with self._lock:
            kept = [(each, key, of_model) for of_model in self._of_models.values() for key, each in of_model.items()]
            total = sum(each.memory for each, _, _ in kept)
            for each, key, of_model in sorted(kept, key=lambda entry: entry[0].last_use):
                if each.lexer.full or total > _BYTES:
                    total -= each.memory
                    dropped.append(of_model.pop(key))
        del dropped  # outside the lock: that takes milliseconds
