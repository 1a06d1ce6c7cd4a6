"""Damaged copies of a tiny encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file


def damage(folder: Path, fault: str, write: Callable[[Path, str], object]) -> None:
    """Write `bert` with the fault called `fault`."""
    write(folder, "bert")
    config = json.loads((folder / "config.json").read_text())
    match fault:
        case "numbers that are not finite":
            weights = load_file(folder / "model.safetensors")
            weights["encoder.layer.0.output.dense.weight"] = np.full((32, 40), np.nan, np.float32)
            save_file(weights, folder / "model.safetensors")
        case "a missing tensor":
            weights = load_file(folder / "model.safetensors")
            del weights["encoder.layer.2.output.dense.weight"]
            save_file(weights, folder / "model.safetensors")
        case "an unknown tensor":
            weights = load_file(folder / "model.safetensors")
            weights["encoder.layer.0.adapter.weight"] = np.zeros((3, 3), np.float32)
            save_file(weights, folder / "model.safetensors")
        case "another size":
            (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
        case "a billion layers":
            (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**9}))
        case "layers without end":
            (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1e308}))
        case "a list for a type":
            (folder / "config.json").write_text(json.dumps({**config, "model_type": ["bert"]}))
        case "a billion labels":
            (folder / "config.json").write_text(json.dumps({**config, "num_labels": 10**9}))
        case "heads that do not divide":
            (folder / "config.json").write_text(json.dumps({**config, "num_attention_heads": 5}))
        case "a text for a number":
            (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": "many"}))
        case "classes that are no list":
            (folder / "config.json").write_text(json.dumps({**config, "architectures": 5}))
            (folder / "modules.json").unlink()
            _edit(folder / "config.json", hidden_act="none")
        case "a list of lists for a pooling mode":
            (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": [["cls"]]}')
        case "a rotated part that is odd":
            write(folder, "nomic")
            _edit(folder / "config.json", rotary_emb_fraction=0.2)
        case "a rotated pair that grows":
            write(folder, "nomic-long")
            _edit(folder / "config.json", rotary_emb_fraction=0.25)
        case "no positions in training":
            write(folder, "nomic-long")
            _edit(folder / "config.json", max_trained_positions=0)
        case "no pooling file":
            (folder / "1_Pooling" / "config.json").unlink()
        case "modules that are no list":
            (folder / "modules.json").write_text("{}")
        case "a folder outside":
            (folder / "modules.json").write_text('[{"type": "x.Pooling", "path": "../../.."}]')
        case "a long prefix":
            _edit(folder / "config_sentence_transformers.json", prompts={"x": "ab " * 10_000})
        case "a dense layer":
            (folder / "modules.json").write_text('[{"type": "x.Dense", "path": "2_Dense"}]')
        case "mixed pooling":
            modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
            (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
        case "another network":
            (folder / "config.json").write_text(json.dumps({**config, "model_type": "mpnet"}))
        case "other positions":
            (folder / "config.json").write_text(json.dumps({**config, "position_embedding_type": "alibi"}))


def damage_index(folder: Path, fault: str, write: Callable[[Path, str], object]) -> None:
    """Write a model whose files lead to an id or a position that one of its tables lacks."""
    write(folder, INDEX_FAULTS[fault])
    match fault:
        case "a token of a bert" | "a token of a cross-encoder":
            _edit_tokenizer(folder, lambda tokenizer: tokenizer["model"]["vocab"].update(zzz=10**6))
        case "a token of a decoder" | "a token of a decoder that ranks":
            _edit_tokenizer(folder, lambda tokenizer: tokenizer["model"]["vocab"].update(z=10**6))
        case "an answer":
            modules = [{"type": "x.Transformer", "path": ""}, {"type": "x.LogitScore", "path": "scores"}]
            (folder / "modules.json").write_text(json.dumps(modules))
            (folder / "scores").mkdir()
            (folder / "scores" / "config.json").write_text('{"true_token_id": 1000000000, "false_token_id": 4}')
        case "an answer below zero":
            damage_index(folder, "an answer", write)
            (folder / "scores" / "config.json").write_text('{"true_token_id": -1000000000, "false_token_id": 4}')
        case "an answer of thirty digits":
            damage_index(folder, "an answer", write)
            (folder / "scores" / "config.json").write_text('{"true_token_id": 1%s, "false_token_id": 4}' % ("0" * 30))
        case "a type":
            second = {"Sequence": {"id": "B", "type_id": 4 * 10**9}}
            _edit_tokenizer(folder, lambda tokenizer: tokenizer["post_processor"]["pair"].__setitem__(3, second))
        case "a special token":
            _edit_tokenizer(
                folder, lambda tokenizer: tokenizer["post_processor"]["pair"][0]["SpecialToken"].update(id="?")
            )
        case "an unknown word":
            _edit_tokenizer(folder, lambda tokenizer: tokenizer["model"].update(unk_token="?"))
        case "no tokens":
            _edit_tokenizer(folder, lambda tokenizer: tokenizer["post_processor"].update(pair=[]))
        case "positions by a scaling":
            _edit(folder / "config.json", rope_scaling={"type": "linear", "factor": 60000.0})
        case "positions by a padding token":
            _edit(folder / "config.json", pad_token_id=10**6)
        case "positions by a padding token that is a fraction":
            _edit(folder / "config.json", pad_token_id=30.0)
    if fault in (
        "a type",
        "no tokens",
        "a special token",
        "an unknown word",
    ):  # else transformers replaces the post-processor
        _edit(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    if fault.startswith("positions"):
        _edit(folder / "tokenizer_config.json", model_max_length=None)
        (folder / "sentence_bert_config.json").unlink()


def without_limit(folder: Path, write: Callable[[Path, str], object]) -> None:
    """Write a model that reads inputs of any length, by what its files say."""
    write(folder, "nomic")
    _edit(folder / "config.json", n_positions=None)
    _edit(folder / "tokenizer_config.json", model_max_length=None)
    (folder / "sentence_bert_config.json").unlink()


def wide(folder: Path, write: Callable[[Path, str], object]) -> None:
    """Write a model without a limit that takes 400 kB of memory for each token of an input, and has no layers."""
    without_limit(folder, write)
    _edit(folder / "config.json", n_embd=10_000, n_layer=0)
    names = ("embeddings.word_embeddings.weight", "embeddings.token_type_embeddings.weight", "emb_ln.weight")
    weights = load_file(folder / "model.safetensors")
    shapes = {name: (*weights[name].shape[:-1], 10_000) for name in (*names, "emb_ln.bias")}
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, folder / "model.safetensors")


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _edit_tokenizer(folder: Path, change: Callable[[Any], object]) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    change(tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


INDEX_FAULTS = {
    "a token of a bert": "bert",
    "a token of a cross-encoder": "bert-pairs",
    "a token of a decoder": "qwen3",
    "a token of a decoder that ranks": "qwen3-reranker",
    "an answer": "qwen3-reranker",
    "an answer below zero": "qwen3-reranker",
    "an answer of thirty digits": "qwen3-reranker",
    "a type": "bert-pairs",
    "no tokens": "bert-pairs",
    "a special token": "bert-pairs",
    "an unknown word": "bert-pairs",
    "positions by a scaling": "bert",
    "positions by a padding token": "roberta",
    "positions by a padding token that is a fraction": "roberta",
}
"""Faults that lead outside of a table of numbers or names, with the model that each is in."""
FAULTS = {
    "numbers that are not finite": "broken_model",
    "a missing tensor": "broken_model",
    "an unknown tensor": "unsupported_model",
    "another size": "broken_model",
    "a billion layers": "broken_model",
    "a billion labels": "broken_model",
    "layers without end": "broken_model",
    "a list for a type": "unsupported_model",
    "heads that do not divide": "broken_model",
    "a text for a number": "broken_model",
    "classes that are no list": "unsupported_model",
    "a list of lists for a pooling mode": "unsupported_model",
    "a rotated part that is odd": "broken_model",
    "a rotated pair that grows": "broken_model",
    "no positions in training": "broken_model",
    "no pooling file": "unsupported_model",
    "modules that are no list": "broken_model",
    "a folder outside": "broken_model",
    "a long prefix": "broken_model",
    "a dense layer": "unsupported_model",
    "mixed pooling": "unsupported_model",
    "another network": "unsupported_model",
    "other positions": "unsupported_model",
}
"""The faults, with the type of the error of each."""


def damaged_name(fault: str) -> str:
    """Return the name of the model with a fault."""
    return "tiny/" + fault.replace(" ", "-")
