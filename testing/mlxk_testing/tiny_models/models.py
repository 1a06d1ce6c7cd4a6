"""Tiny real models, written in milliseconds: random ones, and scripted ones that say a given text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlxk_testing.tiny_models.files import edit_json, listed, write_model
from mlxk_testing.tiny_models.templates import CHATML, CHATML_TOKENS, HARMONY, HARMONY_TOKENS
from mlxk_testing.tiny_models.tokenizers import Says, byte_tokenizer, script_pieces, script_tokenizer, take_end
from mlxk_testing.tiny_models.weights import (
    Dtype,
    code_width,
    gpt_oss_config,
    gpt_oss_weights,
    llama_config,
    llama_weights,
    quantize_to_noise,
    silence_all_but,
    teach,
)


def random_model(
    folder: Path,
    *,
    seed: int = 0,
    chat_template: str | None = CHATML,
    added_tokens: Iterable[str] = CHATML_TOKENS,
    eos: str | Sequence[str] = "<|im_end|>",
    bos: str | None = None,
    context: int = 2048,
    hidden: int = 64,
    layers: int = 2,
    ends: bool = False,
    dtype: Dtype = "float32",
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a llama with random weights. Byte `b` is token `b`, the added tokens follow from 256 on: counts are known.

    It generates printable ASCII only, so greedy answers never end by themselves; with `ends` the first `eos` token
    is as likely as any other. The answer depends on every byte of the prompt. `config` adds to, or replaces keys
    of, config.json (a rope scaling, a sliding window).
    """
    tokenizer, ids = byte_tokenizer((*added_tokens, *listed(eos), *([bos] if bos else [])))
    vocab = 256 + len(ids)
    settings = llama_config(vocab, hidden, layers, context, dtype) | dict(config or {})
    random = np.random.default_rng(seed)
    weights = llama_weights(settings, random)
    said = list(range(32, 127)) + ([ids[listed(eos)[0]]] if ends else [])
    silence_all_but(weights, said)
    return write_model(folder, settings, weights, tokenizer, chat_template, listed(eos), bos, dtype)


def scripted_model(
    folder: Path,
    says: Says,
    *,
    chat_template: str | None = CHATML,
    added_tokens: Iterable[str] = CHATML_TOKENS,
    eos: str | Sequence[str] = "<|im_end|>",
    bos: str | None = None,
    context: int = 2048,
    endless: bool = False,
    after: Mapping[str, Says] | None = None,
    trained: bool = False,
    dtype: Dtype = "float32",
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a llama that answers every prompt with `says`, then the first `eos` (with `endless`, it begins again).

    A script that ends with one of `eos` itself ends with that one. `after` has other answers by the added token that
    the prompt must end with: a template can use it to get another answer after the result of a tool.

    A text is cut into words, with its added tokens as single tokens, and words with characters other than ASCII in two;
    a list is answered piece by piece, with `bytes` for parts of characters. Each piece is one token. The script holds
    at any usual temperature and penalty. Prompts are one token per byte (and per added token). With `trained`, texts
    are cut into the script's pieces where they occur, as a trained tokenizer would: a grammar that forces a text then
    forces the script's own tokens. Its pieces must all differ.
    """
    markers = (*added_tokens, *listed(eos), *(after or {}))
    script = script_pieces(says, markers)
    end = None if endless else take_end(script, listed(eos))
    others = {token: script_pieces(text, markers) for token, text in (after or {}).items()}
    whole = [*script, *(piece for other in others.values() for piece in other)]
    tokenizer, ids, steps = script_tokenizer(whole, (*markers, *([bos] if bos else [])), trained=trained)
    settings = llama_config(tokenizer.get_vocab_size(), code_width(whole), 1, context, dtype) | dict(config or {})
    weights = llama_weights(settings, np.random.default_rng(1))
    for name in weights:
        if "o_proj" in name or "down_proj" in name:
            weights[name][:] = 0  # only the last token's embedding has an effect, and the token it leads to
    remaining = iter(steps[len(script) :])
    after_steps = {ids[token]: [next(remaining) for _ in other] for token, other in others.items()}
    teach(weights, steps[: len(script)], ids[end] if end else None, after_steps)
    return write_model(folder, settings, weights, tokenizer, chat_template, listed(eos), bos, dtype)


def mxfp4_model(
    folder: Path, *, seed: int = 0, chat_template: str | None = CHATML, context: int = 2048, layers: int = 2
) -> Path:
    """Write a `random_model` whose projections are stored as MLX's mxfp4: random 4-bit values, a scale per 32."""
    tokenizer, ids = byte_tokenizer(CHATML_TOKENS)
    settings = llama_config(256 + len(ids), 64, layers, context, "float32")
    settings["quantization"] = settings["quantization_config"] = {"group_size": 32, "bits": 4, "mode": "mxfp4"}
    random = np.random.default_rng(seed)
    weights = llama_weights(settings, random)
    silence_all_but(weights, range(32, 127))
    for name in [name for name in weights if "_proj" in name]:
        quantize_to_noise(weights, name, random)
    return write_model(folder, settings, weights, tokenizer, chat_template, ["<|im_end|>"], None, "float32")


def gpt_oss_model(
    folder: Path,
    says: Says | None = None,
    *,
    seed: int = 0,
    chat_template: str | None = HARMONY,
    context: int = 2048,
    endless: bool = False,
) -> Path:
    """Write a tiny gpt-oss: its architecture (mixture of experts in mxfp4, sliding window), tokens and kind of
    template.

    With `says` it is scripted as `scripted_model` is and ends with `<|return|>`; without, it is random.
    """
    eos = ["<|return|>", "<|call|>", "<|endoftext|>"]
    random = np.random.default_rng(seed)
    script = [] if says is None else script_pieces(says, HARMONY_TOKENS)
    if says is None:
        tokenizer, ids = byte_tokenizer(HARMONY_TOKENS)
    else:
        end = None if endless else take_end(script, eos)
        tokenizer, ids, steps = script_tokenizer(script, HARMONY_TOKENS)
    hidden = code_width(script)
    settings = gpt_oss_config(tokenizer.get_vocab_size(), hidden, context)
    weights = gpt_oss_weights(settings, random)
    if says is None:
        silence_all_but(weights, range(32, 127))
    for name in [name for name in weights if ".experts." in name and name.endswith("weight")]:
        quantize_to_noise(weights, name, random)
    if says is not None:
        for name in weights:
            if "o_proj" in name or ("down_proj" in name and not name.endswith("scales")):
                weights[name][:] = 0
        teach(weights, steps, ids[end] if end else None)
    write_model(folder, settings, weights, tokenizer, chat_template, eos, None, "float32")
    edit_json(folder / "config.json", eos_token_id=ids["<|return|>"])
    return folder
