"""Tiny encoders, and decoders that embed or rank; another program can compute what they do from their tensors' names.

`make_references.py` runs them with transformers and sentence-transformers and writes `references.json`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase, digits
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

REFERENCES = Path(__file__).parent / "references.json"
TEXTS = ("the cat sat on the mat", "A dog!", "rain in oslo, and 7 more days of it until the sun is back at 12")
PAIRS = (
    ("where is the cat", "the cat sat on the mat"),
    ("where is the cat", "it rains"),
    ("dogs", "a dog, 3 years old"),
)
PROMPTS = {"query": "query: ", "document": ""}
_SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 40, "num_hidden_layers": 3}
_ONE_LABEL = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ascii_lowercase, *digits, *"!,.:", "the", "cat", "##s")
_WORDPIECE = (*_PIECES, *(f"##{each}" for each in ascii_lowercase + digits))
_UNIGRAM = ("<s>", "<pad>", "</s>", "<unk>", "▁", "▁the", "▁cat", *ascii_lowercase, "A", *digits, *"!,.:")


@dataclass(frozen=True)
class Case:
    """One tiny model. `auto` is the class of transformers that runs it, `published` its names where they differ."""

    config: Mapping[str, Any]
    auto: str = "AutoModel"
    tokenizer: str = "wordpiece"
    pooling: str = "mean"
    normalize: bool = True
    lower_case: bool = False
    published: Mapping[str, Any] = field(default_factory=dict)
    """What the published config has in place of `config`, for names that transformers no longer reads."""


def _bert(kind: str, **more: Any) -> dict[str, Any]:
    return {**_SIZES, "model_type": kind, "layer_norm_eps": 1e-5, **more}


_BERT = _bert("bert", vocab_size=len(_WORDPIECE), max_position_embeddings=96, type_vocab_size=2, pad_token_id=0)
_ROBERTA = _bert("xlm-roberta", vocab_size=len(_UNIGRAM), max_position_embeddings=98, type_vocab_size=1, pad_token_id=1)
_MODERN = {
    **_SIZES,
    "model_type": "modernbert",
    "vocab_size": len(_WORDPIECE),
    "num_hidden_layers": 5,
    "local_attention": 8,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 900.0,
    "local_rope_theta": 70.0,
    "max_position_embeddings": 96,
    "pad_token_id": 0,
    "cls_token_id": 2,
    "sep_token_id": 3,
}
_NOMIC = {
    **_SIZES,
    "model_type": "nomic_bert",
    "vocab_size": len(_WORDPIECE),
    "max_position_embeddings": 96,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
}
_NOMIC_PUBLISHED = {
    "model_type": "nomic_bert",
    "activation_function": "swiglu",
    "n_embd": 32,
    "n_head": 4,
    "n_inner": 40,
    "n_layer": 3,
    "n_positions": 96,
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "layer_norm_epsilon": 1e-12,
    "qkv_proj_bias": False,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "prenorm": False,
    "causal": False,
    "type_vocab_size": 2,
    "vocab_size": len(_WORDPIECE),
    "auto_map": {"AutoModel": "modeling_hf_nomic_bert.NomicBertModel"},
}
_BYTES = (*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>", "<|im_start|>", "<|im_end|>", "yes", "no")
_QWEN3 = {
    **_SIZES,
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": len(_BYTES),
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "eos_token_id": 256,
}
CASES: Mapping[str, Case] = {
    "bert": Case({**_BERT, "architectures": ["BertModel"]}, pooling="cls"),
    "bert-masked": Case({**_BERT, "architectures": ["BertForMaskedLM"]}, auto="AutoModelForMaskedLM", normalize=False),
    "bert-pairs": Case(
        {**_BERT, **_ONE_LABEL, "architectures": ["BertForSequenceClassification"]},
        auto="AutoModelForSequenceClassification",
    ),
    "roberta": Case({**_ROBERTA, "architectures": ["XLMRobertaModel"]}, tokenizer="unigram", lower_case=True),
    "roberta-pairs": Case(
        {**_ROBERTA, **_ONE_LABEL, "architectures": ["XLMRobertaForSequenceClassification"]},
        auto="AutoModelForSequenceClassification",
        tokenizer="unigram",
    ),
    "modernbert": Case({**_MODERN, "architectures": ["ModernBertModel"]}, pooling="cls"),
    "modernbert-pairs": Case(
        {
            **_MODERN,
            **_ONE_LABEL,
            "architectures": ["ModernBertForSequenceClassification"],
            "classifier_pooling": "mean",
        },
        auto="AutoModelForSequenceClassification",
    ),
    "qwen3": Case(_QWEN3, tokenizer="bytes", pooling="last"),
    "qwen3-reranker": Case(_QWEN3, auto="AutoModelForCausalLM", tokenizer="bytes"),
    "nomic": Case({**_NOMIC, "architectures": ["NomicBertModel"]}, published=_NOMIC_PUBLISHED),
    "nomic-long": Case(
        {
            **_NOMIC,
            "architectures": ["NomicBertModel"],
            "max_position_embeddings": 16,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1000.0, "factor": 2.0},
        },
        published={
            **_NOMIC_PUBLISHED,
            "rotary_scaling_factor": 2,
            "max_trained_positions": 16,
        },
    ),
}


def weight(name: str, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return the values of a tensor: float32, the same wherever it has this name."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    scale = 1 + 0.2 * values if "norm" in name.lower() and name.endswith("weight") else 0.3 * values
    return scale.astype(np.float32)


def write_encoder(folder: Path, name: str, shapes: Mapping[str, Sequence[int]], *, reference: bool = False) -> Path:
    """Write the case `name` with tensors of these names and shapes.

    For `reference` with the config that transformers reads, else with the published one.
    """
    case = CASES[name]
    folder.mkdir(parents=True, exist_ok=True)
    config = case.config if reference else case.published or case.config
    _dump(folder / "config.json", config)
    save_file(
        {key: weight(key, shape) for key, shape in shapes.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    tokenizer, settings = _TOKENIZERS[case.tokenizer]()
    tokenizer.save(str(folder / "tokenizer.json"))
    _dump(folder / "tokenizer_config.json", {"model_max_length": 96, **settings})
    if name == "qwen3-reranker":
        (folder / "README.md").write_text("---\nlibrary_name: mlx\nbase_model: Qwen/Qwen3-Reranker-0.6B\n---\n")
    elif not name.endswith("-pairs"):
        _sentence_files(folder, case)
    return folder


def token_inputs(name: str) -> list[list[int]]:
    """Return token ids of several lengths, longer than a local window."""
    size = CASES[name].config["vocab_size"]
    random = np.random.default_rng(7)
    return [[int(token) for token in random.integers(5, size, length)] for length in (3, 21, 40, 9)]


def _sentence_files(folder: Path, case: Case) -> None:
    """Write what sentence-transformers adds to a model."""
    kinds = {"Transformer": "", "Pooling": "1_Pooling", **({"Normalize": "2_Normalize"} if case.normalize else {})}
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(kinds.items())
    ]
    _dump(folder / "modules.json", modules)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    mode = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "last": "pooling_mode_lasttoken"}[
        case.pooling
    ]
    _dump(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, mode: True})
    if case.normalize:
        (folder / "2_Normalize").mkdir(exist_ok=True)
    _dump(folder / "config_sentence_transformers.json", {"prompts": PROMPTS, "default_prompt_name": None})
    _dump(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": case.lower_case})


def _wordpiece() -> tuple[Tokenizer, dict[str, Any]]:
    tokenizer = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(_WORDPIECE)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens([AddedToken(piece, special=True) for piece in _WORDPIECE[:5]])
    names = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
    return tokenizer, {"tokenizer_class": "BertTokenizer", **{f"{key}_token": text for key, text in names.items()}}


def _unigram() -> tuple[Tokenizer, dict[str, Any]]:
    vocab = [(piece, 0.0 if piece in _UNIGRAM[:4] else -3.0 - len(piece) * 0.01) for piece in _UNIGRAM]
    tokenizer = Tokenizer(models.Unigram(vocab, 3, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens([AddedToken(piece, special=True) for piece in _UNIGRAM[:4]])
    names = {"unk": "<unk>", "cls": "<s>", "sep": "</s>", "pad": "<pad>", "bos": "<s>", "eos": "</s>"}
    return tokenizer, {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{f"{key}_token": text for key, text in names.items()},
    }


def _bytes() -> tuple[Tokenizer, dict[str, Any]]:
    """A token for each byte; a text ends with `<|endoftext|>`, as Qwen3-Embedding's do."""
    tokenizer = Tokenizer(models.BPE({piece: index for index, piece in enumerate(_BYTES)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", pair="$A $B <|endoftext|>", special_tokens=[("<|endoftext|>", 256)]
    )
    tokenizer.add_special_tokens([AddedToken(piece, special=True) for piece in _BYTES[256:259]])
    tokenizer.add_tokens(list(_BYTES[259:]))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1024}
    return tokenizer, {**settings, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}


_TOKENIZERS = {"wordpiece": _wordpiece, "unigram": _unigram, "bytes": _bytes}


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
