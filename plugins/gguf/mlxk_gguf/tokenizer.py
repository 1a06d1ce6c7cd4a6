"""The tokenizer of a GGUF file as a transformers tokenizer."""

from __future__ import annotations

from array import array
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from transformers.integrations.gguf.gguf_tokenizer_mapping import (
    GGUF_PRE_TOKENIZER_SPLITS,
    GGUF_SENTENCEPIECE_BUILDERS,
    GGUF_TOKENIZER_MAPPING,
    convert_gguf_tokenizer,
)

from mlxk_core.api import GGUFHeader, Model
from mlxk_core.api.errors import BrokenModel, raise_system_limit
from mlxk_mlx.byte_alphabet import BYTE_OF_LETTER, LETTER_OF_BYTE

_SPECIAL = {"bos_token": "bos_token_id", "eos_token": "eos_token_id", "pad_token": "padding_token_id"}
# Where a file does not say whether a text begins with the BOS token, llama.cpp goes by how it is split
# (src/llama-vocab.cpp); the same ones take a word that is in the vocabulary whole before they try merges.
_LLAMA3 = frozenset({"llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "lfm2"})
_WHOLE_WORDS = _LLAMA3 | {"tekken"}

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SINGLE_DIGITS = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})
_PUNCTUATION = r"[\p{P}\$\+<=>\^~\|]+"


def read_tokenizer(model: Model) -> PreTrainedTokenizerFast:
    """Return the tokenizer in the header of `model`. Raises `BrokenModel`. A child process uses it as well."""
    assert model.gguf is not None
    try:
        return build_tokenizer(model.gguf, model.chat_template)
    except Exception as error:  # a damaged vocabulary can fail anywhere in transformers
        raise_system_limit(error)
        raise BrokenModel(f"The tokenizer of `{model.name}` cannot be built: {error}", model=model.name) from error


def build_tokenizer(header: GGUFHeader, chat_template: str | None) -> PreTrainedTokenizerFast:
    """Return the tokenizer that the metadata of `header` describes."""
    metadata = header.metadata
    tokens = metadata["tokenizer.ggml.tokens"]
    byte_level = metadata["tokenizer.ggml.model"] == "gpt2"
    backend = _byte_level(header) if byte_level else _sentencepiece(header)
    named = {
        name: tokens[index]
        for name, key in _SPECIAL.items()
        if isinstance(index := metadata.get(f"tokenizer.ggml.{key}"), int) and index < len(tokens)
    }
    adds_bos = metadata.get("tokenizer.ggml.add_bos_token")
    if adds_bos is None:
        adds_bos = not byte_level or metadata.get("tokenizer.ggml.pre") in _WHOLE_WORDS
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
        add_bos_token=bool(adds_bos and "bos_token" in named),
        add_eos_token=bool(metadata.get("tokenizer.ggml.add_eos_token")),
        **named,
    )


def _byte_level(header: GGUFHeader) -> Tokenizer:
    """Return a byte-level BPE tokenizer.

    The builder in transformers leaves out added tokens with letters outside the byte alphabet (DeepSeek's `<｜User｜>`)
    and does not have every splitter.
    """
    metadata = header.metadata
    splitter = metadata.get("tokenizer.ggml.pre", "default")
    added = {index: (text, special) for index, text, special in header.added_tokens()}
    vocab = {
        text if index in added else _spell(text): index for index, text in enumerate(metadata["tokenizer.ggml.tokens"])
    }
    merges = [tuple(merge.split(" ", 1)) for merge in metadata.get("tokenizer.ggml.merges") or ()]
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=merges, ignore_merges=splitter in _WHOLE_WORDS))
    tokenizer.pre_tokenizer = _splitter(splitter)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([_added_token(text, special) for text, special in added.values() if special])
    tokenizer.add_tokens([_added_token(text, special) for text, special in added.values() if not special])
    return tokenizer


def _sentencepiece(header: GGUFHeader) -> Tokenizer:
    """Return a BPE tokenizer in the manner of sentencepiece; transformers derives the merges from the scores."""
    metadata = header.metadata
    described = {
        ours: list(value) if isinstance(value := metadata[f"tokenizer.{theirs}"], array) else value
        for theirs, ours in GGUF_TOKENIZER_MAPPING["tokenizer"].items()
        if f"tokenizer.{theirs}" in metadata
    }
    tokenizer: Tokenizer = convert_gguf_tokenizer(header.architecture, described)[0]
    if header.architecture in GGUF_SENTENCEPIECE_BUILDERS:
        return tokenizer
    # One space before every text, also after a marker: Llama 2 was trained on `<s>▁[INST]`, and Mistral 0.3 on
    # `[INST]▁What`, whose template writes that space itself.
    prefix = metadata.get("tokenizer.ggml.add_space_prefix", True)
    scheme = "always" if prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return tokenizer


def _splitter(name: str) -> pre_tokenizers.PreTokenizer:
    """Return the splitter of text before merging. `name` is one of `support.SPLITTERS`."""
    if name in GGUF_PRE_TOKENIZER_SPLITS:
        patterns = [GGUF_PRE_TOKENIZER_SPLITS[name]]
    elif name in _SINGLE_DIGITS:
        patterns = [r"\p{N}", _GPT2]
    elif name == "default":  # of files older than the key
        patterns = [_PUNCTUATION, _GPT2, r"\p{N}+", r"[0-9]{3}"]
    else:
        patterns = [_GPT2]
    splits: list[Any] = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _added_token(text: str, special: bool) -> AddedToken:
    return AddedToken(text, special=special, normalized=False)


def _spell(text: str) -> str:
    """Return `text` in the byte alphabet; most files spell it so already."""
    if all(letter in BYTE_OF_LETTER for letter in text):
        return text
    return "".join(LETTER_OF_BYTE[byte] for byte in text.encode())
