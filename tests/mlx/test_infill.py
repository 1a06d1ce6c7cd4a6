"""Fill-in-the-middle prompts with a SentencePiece tokenizer, which puts a space before each text."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from mlxk_core._generation.infill import infill
from mlxk_core.api.errors import InvalidOption
from mlxk_mlx.engine.tokenizer import TokenizerAdapter

MARKERS = ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>")


def sentencepiece(*special):
    vocabulary = {"<unk>": 0, **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)}}
    for character in "▁defxprint()":
        vocabulary.setdefault(character, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    return TokenizerAdapter(
        PreTrainedTokenizerFast(tokenizer_object=tokenizer), vocab_size=len(vocabulary) + 9
    ), tokenizer


def test_the_text_after_the_answer_gets_no_space_of_its_own():
    adapter, tokenizer = sentencepiece(*MARKERS)
    found = infill(adapter, "def x", "print()")
    pieces = [tokenizer.id_to_token(token) for token in found.tokens]
    assert pieces == ["▁<PRE>", *"▁def▁x", "▁<SUF>", *"print()", "▁<MID>"]
    assert {tokenizer.id_to_token(token) for token in found.stop_tokens} == set(MARKERS)


def test_markers_that_are_ordinary_text_are_not_markers():
    with pytest.raises(InvalidOption, match="suffix"):
        infill(sentencepiece("<s>")[0], "def x", "print()")
