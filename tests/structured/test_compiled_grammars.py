"""What the rows of a grammar add to it: states of its lexer, which all of them share."""

from __future__ import annotations

import random
import resource
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from mlxk_core.api.backends import trim_heap
from mlxk_core.api.errors import ConstraintFailure
from mlxk_core.api.generation import Matches, Vocabulary
from mlxk_structured.compiler import Compiler

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MEGABYTE = 1 << 20


class Words:
    """Single bytes, and 20,000 words."""

    def __init__(self):
        rng = random.Random(1)
        words = ["".join(rng.choices(LETTERS, k=rng.randint(2, 6))) for _ in range(20_000)]
        self._pieces = [bytes([byte]) for byte in range(256)] + [word.encode() for word in words]
        self.vocab_size = len(self._pieces) + 1

    def piece(self, token):
        return self._pieces[token] if token < len(self._pieces) else b""

    def encode(self, text, *, add_special_tokens):
        return list(text.encode())


def vocabulary():
    tokenizer = Words()
    return Vocabulary(tokenizer=tokenizer, markers={}, stop_tokens=frozenset({tokenizer.vocab_size - 1}))


def explosive(number):
    """A pattern that remembers the vowels among the last letters: each text has states of its own."""
    return Matches("regex", f".*[aeiou{chr(0x4E00 + number)}].{{60}}z.*")


def read(constraint, seed, most):
    """Let a row write up to `most` words. Return how many there were."""
    rng, count = random.Random(seed), 0
    with suppress(ConstraintFailure):
        while count < most:
            constraint.mask()
            constraint.accept(rng.randint(256, 20_000))
            count += 1
    return count


def test_a_grammar_that_was_too_complex_for_one_row_serves_the_next():
    compiler, model = Compiler(), vocabulary()
    assert read(compiler.compile(explosive(0), model), seed=1, most=5_000) < 5_000
    assert read(compiler.compile(explosive(0), model), seed=2, most=10) == 10


def resident():
    trim_heap()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_the_grammars_of_all_models_share_a_budget():
    """Each took 20 MB and more as long as its model was loaded."""
    compiler, models = Compiler(), [vocabulary() for _ in range(2)]
    longest = read(compiler.compile(explosive(0), models[0]), seed=1, most=5_000)
    before = resident()
    for number in range(1, 13):
        for model in models:
            assert read(compiler.compile(explosive(number), model), seed=1, most=longest - 2) == longest - 2
    assert resident() - before < 300 * MEGABYTE
