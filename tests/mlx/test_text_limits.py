"""Texts that are tokenized: how many tokens they may have together."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mlxk_core.api.errors import InvalidOption
from mlxk_mlx.engine.text_limits import MOST_TOKENS
from mlxk_mlx.engine.tokenizer import TokenizerAdapter

LONGER = MOST_TOKENS // 2 + 1_000_000


@pytest.fixture(scope="module")
def tokenizer():
    """Each byte is a token."""
    alphabet = {letter: id for id, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return TokenizerAdapter(PreTrainedTokenizerFast(tokenizer_object=backend), vocab_size=256)


def test_bytes_count_not_characters(tokenizer):
    with pytest.raises(InvalidOption, match="at least 2,"):
        tokenizer.encode("é" * LONGER, add_special_tokens=False)


def test_the_texts_of_a_pair_count_together(tokenizer):
    with pytest.raises(InvalidOption, match="at least 2,"):
        tokenizer.encode_pair("a " * (LONGER // 2), "b " * (LONGER // 2), max_tokens=512)


def test_a_long_text_with_fewer_tokens_is_read_as_a_whole(tokenizer):
    tokens = tokenizer.encode("a " * 600_000, add_special_tokens=False)
    assert len(tokens) == 1_200_000
    assert tokenizer.decode(tokens[:4]) == "a a "


def resident():
    """Resident bytes of this process."""
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) * 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_threads_do_not_keep_what_their_texts_took(tokenizer):
    """The C library keeps it for each of them: 180 MB of such a text."""
    done, over = threading.Semaphore(0), threading.Event()

    def encode():
        assert len(tokenizer.encode("a " * 500_000, add_special_tokens=False)) == 1_000_000
        done.release()
        over.wait()

    threads = [threading.Thread(target=encode) for _ in range(4)]
    before = resident()
    for thread in threads:
        thread.start()
        assert done.acquire(timeout=60)
    after = resident()
    over.set()
    for thread in threads:
        thread.join()
    assert after - before < 300 << 20


@pytest.fixture
def dropping():
    """A tokenizer whose only token is a letter, and that has none for what it does not know."""
    backend = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.Digits(individual_digits=True)
    return backend


def adapted(backend):
    return TokenizerAdapter(PreTrainedTokenizerFast(tokenizer_object=backend), vocab_size=1)


def test_what_a_text_is_split_into_counts_without_tokens_too(dropping):
    with pytest.raises(InvalidOption, match="at least 2,"):
        adapted(dropping).encode("7" * (MOST_TOKENS + 1_000_000), add_special_tokens=False)


def test_a_long_text_is_read_where_the_tokenizer_has_no_token_for_most_of_it(dropping):
    assert adapted(dropping).encode("7" * 1_200_000 + "a", add_special_tokens=False) == [0]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("\N{GRINNING FACE}" * 3_200_000, []),
        ("7" * 2_000_000, [normalizers.Replace("7", "7777777"), normalizers.Replace("7", "")]),
    ],
    ids=["of the text", "between two steps of the normalizer"],
)
def test_bytes_are_limited_also_where_no_token_comes_of_them(dropping, text, steps):
    dropping.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    dropping.normalizer = normalizers.Sequence(steps)
    with pytest.raises(InvalidOption, match="of over 12,582,912 bytes"):
        adapted(dropping).encode(text, add_special_tokens=False)
