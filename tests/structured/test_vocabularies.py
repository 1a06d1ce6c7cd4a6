"""Vocabularies as large as those of real models."""

from __future__ import annotations

import random
import threading
import time

import llguidance
import pytest

from mlxk_core.api.generation import Matches, Vocabulary
from mlxk_structured.compiler import Compiler

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Words:
    """Single bytes, and 150,000 words in no order. Some have the text of another one."""

    def __init__(self):
        rng = random.Random(1)
        words = ("".join(rng.choices(LETTERS, k=rng.randint(3, 8))) for _ in range(150_000))
        self.pieces = [*(bytes([byte]) for byte in range(256)), *(word.encode() for word in words), None]
        self.vocab_size = len(self.pieces)

    def piece(self, token):
        return self.pieces[token]

    def encode(self, text, *, add_special_tokens):
        return list(text.encode())


class AsNumbered:
    """The same vocabulary for llguidance, by the model's numbers."""

    bos_token_id = None

    def __init__(self, words):
        self.tokens = [piece or b"" for piece in words.pieces]
        self.eos_token_id = len(self.tokens) - 1
        self.special_token_ids = [self.eos_token_id]

    def __call__(self, text):
        return list(text)


@pytest.fixture(scope="module")
def words():
    return Words()


def vocabulary(words):
    return Vocabulary(tokenizer=words, markers={}, stop_tokens=frozenset({words.vocab_size - 1}))


def longest_pause(work):
    """Return for how long another thread did not run while `work` did, in seconds."""
    over, pauses = threading.Event(), []

    def tick():
        while not over.is_set():
            began = time.monotonic()
            time.sleep(0.001)
            pauses.append(time.monotonic() - began)

    thread = threading.Thread(target=tick)
    thread.start()
    work()
    over.set()
    thread.join()
    return max(pauses)


def test_other_threads_run_while_a_large_vocabulary_is_read(words):
    """llguidance holds the interpreter's lock while it reads one: `/health` was silent for over a second."""
    wrapper = llguidance.TokenizerWrapper(AsNumbered(words))
    at_once = longest_pause(lambda: llguidance.LLTokenizer(wrapper))
    in_parts = longest_pause(lambda: Compiler().compile(Matches("regex", "[a-z]+"), vocabulary(words)))
    assert in_parts < at_once * 0.6


@pytest.mark.parametrize("pattern", ["[a-m]{2,4}", "[^b]*", "(abc|abq|ab)+x"])
def test_a_mask_has_the_tokens_of_the_model(words, pattern):
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(AsNumbered(words)), slices=[])
    row = Compiler().compile(Matches("regex", pattern), vocabulary(words))
    other = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_lark(f"start: /{pattern}/"))
    rng, size = random.Random(2), words.vocab_size
    for _ in range(4):
        bits, expected = (int.from_bytes(mask, "little") for mask in (row.mask(), other.compute_bitmask()))
        assert bits == expected
        token = rng.choice([token for token in range(size - 1) if bits >> token & 1] or [size - 1])
        row.accept(token)
        assert other.consume_token(token)
        if row.complete:
            break
