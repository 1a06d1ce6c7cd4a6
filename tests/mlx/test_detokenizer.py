"""Streamed text is the text of transformers' own decoder, for every kind of decoder models have."""

from __future__ import annotations

import threading

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mlxk_mlx.engine.detokenizer import WindowDetokenizer
from mlxk_mlx.engine.tokenizer import TokenizerAdapter

TEXTS = [
    "Hello world",
    " A leading blank",
    "  two",
    "emoji 🙂 and 👩‍👩‍👧‍👦, 🇨🇭!",
    "日本語",
    "line\n\nline\t.",
    "mark<|end|> here<|end|>",
    "trailing  ",
    "a▁b",
]
SENTENCEPIECE = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: id for id, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sentencepiece(decoder, *, prefix):
    words = ["<unk>", *BYTES, "▁", "▁Hello", "▁world", *"abcdefghijklmnopqrstuvwxyzHAT", "▁a", "🙂"]
    model = models.BPE(
        vocab={word: id for id, word in enumerate(words)}, merges=[], unk_token="<unk>", byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    steps = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoder
    return tokenizer


def metaspace():
    words = [
        ("<unk>", 0.0),
        ("▁", -1.0),
        *((letter, -2.0) for letter in "abcdefghijklmnopqrstuvwxyzHAT,.!<|>"),
        ("▁world", -0.5),
    ]
    tokenizer = Tokenizer(models.Unigram(words, 0, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


KINDS = {
    "byte level": byte_level,
    "sentencepiece, first blank stripped": lambda: sentencepiece(
        decoders.Sequence([*SENTENCEPIECE, decoders.Strip(" ", 1, 0)]), prefix=True
    ),
    "sentencepiece": lambda: sentencepiece(decoders.Sequence(SENTENCEPIECE), prefix=False),
    "metaspace": metaspace,
    "any other": lambda: sentencepiece(
        decoders.Sequence([decoders.Fuse(), decoders.Replace(Regex("▁"), " ")]), prefix=False
    ),
}


@pytest.fixture(params=KINDS)
def backend(request):
    tokenizer = KINDS[request.param]()
    tokenizer.add_special_tokens([AddedToken("<|end|>", special=True, normalized=False)])
    tokenizer.add_tokens([AddedToken(" kept whole ", normalized=False)])
    return tokenizer


@pytest.fixture
def tokenizer(backend):
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False)
    return TokenizerAdapter(hf, vocab_size=backend.get_vocab_size() + 8)


def streamed(tokenizer, tokens):
    detokenizer = tokenizer.detokenizer()
    return "".join([*map(detokenizer.add, tokens), detokenizer.finish()])


@pytest.mark.parametrize("text", TEXTS)
def test_streamed_text_is_what_the_decoder_says(backend, tokenizer, text):
    tokens = tokenizer.encode(text, add_special_tokens=False)
    assert streamed(tokenizer, tokens) == backend.decode(tokens, skip_special_tokens=False) == tokenizer.decode(tokens)


def test_words_kept_whole_and_ids_without_a_word_are_streamed(backend, tokenizer):
    tokens = [*tokenizer.encode("a kept whole b", add_special_tokens=False), backend.get_vocab_size() + 3]
    assert streamed(tokenizer, tokens) == backend.decode(tokens, skip_special_tokens=False)


def test_text_comes_as_soon_as_it_is_whole(tokenizer):
    detokenizer = tokenizer.detokenizer()
    tokens = tokenizer.encode("Hello world", add_special_tokens=False)
    assert "".join(map(detokenizer.add, tokens)).rstrip() == "Hello world"


def test_streaming_is_linear():
    tokenizer = TokenizerAdapter(PreTrainedTokenizerFast(tokenizer_object=KINDS["any other"]()), vocab_size=400)
    calls = []
    decode = tokenizer.decode_tokens
    tokenizer.decode_tokens = lambda tokens: calls.append(len(tokens)) or decode(tokens)
    streamed(tokenizer, tokenizer.encode("ab" * 500, add_special_tokens=False))
    assert max(calls) < 20


def test_tokens_without_a_whole_character_are_not_decoded_again_for_ever():
    """The window ends: each token would take as long as all before it."""
    calls = []
    detokenizer = WindowDetokenizer(lambda tokens: calls.append(len(tokens)) or "\ufffd" * len(tokens))
    assert "".join([*map(detokenizer.add, range(1000)), detokenizer.finish()]) == "\ufffd" * 1000
    assert max(calls) < 200


def test_what_looks_like_a_byte_is_text():
    """`int` and `bytes` would raise for them."""
    odd = ["<0xZZ>", "<0x-1>", "<0x 1>", "<0x41>"]
    backend = Tokenizer(models.BPE({text: number for number, text in enumerate(odd)}, []))
    backend.decoder = decoders.Sequence(SENTENCEPIECE)
    adapter = TokenizerAdapter(PreTrainedTokenizerFast(tokenizer_object=backend), vocab_size=4)
    assert adapter.decode([0, 1, 2, 3]) == "<0xZZ><0x-1><0x 1>A"


def test_a_long_text_read_as_tokens_holds_up_nobody():
    adapter = TokenizerAdapter(PreTrainedTokenizerFast(tokenizer_object=byte_level()), vocab_size=256)
    text = "Hello world. " * 60_000
    began, over, turns = threading.Event(), threading.Event(), []

    def live():
        while not over.wait(0.001):
            turns.append(None)
            began.set()

    alive = threading.Thread(target=live)
    alive.start()
    began.wait()
    before = len(turns)
    tokens = adapter.encode(text, add_special_tokens=False)
    meanwhile = len(turns) - before
    over.set()
    alive.join()
    assert len(tokens) == len(text)
    assert meanwhile > 50  # at most some 20 if the interpreter's lock is held
