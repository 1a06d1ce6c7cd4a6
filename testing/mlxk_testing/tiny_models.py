"""Tiny real models, written in milliseconds: random ones with a token per byte, and scripted ones that say a text.

They are ordinary folders in MLX form (config, safetensors, a real tokenizer), and need no MLX to be written. All is
deterministic. `in_hub_cache` puts one where huggingface_hub would.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The chat template most models use."""

THINKING_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}{{ message['content'].split('</think>')[-1] }}"
    "{% else %}{{ message['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""ChatML of a model that writes `<think>` itself, and not when `enable_thinking` is false."""

OPENED_THINKING_CHATML = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
"""ChatML whose prompt opens the reasoning block."""

HARMONY = (
    "{% if tools %}<|start|>developer<|message|># Tools\n"
    "{% for tool in tools %}{{ tool.function.name }}: {{ tool.function.description }}\n{% endfor %}<|end|>{% endif %}"
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{% if message.tool_calls %}{% for call in message.tool_calls %}"
    "<|start|>assistant to=functions.{{ call.function.name }}<|channel|>commentary json<|message|>"
    "{{ call.function.arguments | tojson }}<|call|>{% endfor %}{% endif %}"
    "{% if message['content'] or not message.tool_calls %}"
    "<|start|>assistant<|channel|>final<|message|>{{ message['content'] }}"
    "{% if loop.last and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}{% endif %}"
    "{% else %}<|start|>{{ message['role'] }}<|message|>{{ message['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
"""The shape of gpt-oss' template."""

HARMONY_TOKENS = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|return|>",
    "<|constrain|>",
    "<|channel|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|call|>",
)
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")

Weights = dict[str, NDArray[Any]]
Dtype = Literal["float32", "float16", "bfloat16"]
Says = str | Sequence[str | bytes]


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
    """A llama with random weights. Byte `b` is token `b`, the added tokens follow from 256 on, so counts are known.

    Only printable ASCII can be said, so greedy answers never end by themselves; with `ends` the first `eos` token
    is as likely as any other. What is said depends on every byte of the prompt. `config` adds to, or replaces keys
    of, config.json (a rope scaling, a sliding window).
    """
    tokenizer, ids = _byte_tokenizer((*added_tokens, *_listed(eos), *([bos] if bos else [])))
    vocab = 256 + len(ids)
    settings = _llama_config(vocab, hidden, layers, context, dtype) | dict(config or {})
    random = np.random.default_rng(seed)
    weights = _llama_weights(settings, random)
    said = list(range(32, 127)) + ([ids[_listed(eos)[0]]] if ends else [])
    _silence_all_but(weights, said)
    return _write(folder, settings, weights, tokenizer, chat_template, _listed(eos), bos, dtype)


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
    dtype: Dtype = "float32",
    config: Mapping[str, Any] | None = None,
) -> Path:
    """A llama that says `says` whatever the prompt, then the first `eos` (or, `endless`, begins again).

    A script that ends with one of `eos` itself ends with that one.

    A text is cut into words, with the added tokens in it as single tokens and other than ASCII characters in two; a
    list is said piece by piece, `bytes` for parts of characters. Each piece is one token. The script holds at any
    usual temperature and penalty. Prompts are one token per byte (and per added token).
    """
    script = _pieces(says, (*added_tokens, *_listed(eos)))
    end = None if endless else _take_end(script, _listed(eos))
    tokenizer, ids, steps = _script_tokenizer(script, (*added_tokens, *_listed(eos), *([bos] if bos else [])))
    settings = _llama_config(tokenizer.get_vocab_size(), _code_width(script), 1, context, dtype) | dict(config or {})
    weights = _llama_weights(settings, np.random.default_rng(1))
    for name in weights:
        if "o_proj" in name or "down_proj" in name:
            weights[name][:] = 0  # what is left of the network: the last token's embedding, and what it leads to
    _teach(weights, steps, ids[end] if end else None)
    return _write(folder, settings, weights, tokenizer, chat_template, _listed(eos), bos, dtype)


def mxfp4_model(
    folder: Path, *, seed: int = 0, chat_template: str | None = CHATML, context: int = 2048, layers: int = 2
) -> Path:
    """`random_model` whose projections are stored as MLX's mxfp4: random four bit values, one scale for each 32."""
    tokenizer, ids = _byte_tokenizer(CHATML_TOKENS)
    settings = _llama_config(256 + len(ids), 64, layers, context, "float32")
    settings["quantization"] = settings["quantization_config"] = {"group_size": 32, "bits": 4, "mode": "mxfp4"}
    random = np.random.default_rng(seed)
    weights = _llama_weights(settings, random)
    _silence_all_but(weights, range(32, 127))
    for name in [name for name in weights if "_proj" in name]:
        _quantize_to_noise(weights, name, random)
    return _write(folder, settings, weights, tokenizer, chat_template, ["<|im_end|>"], None, "float32")


def gpt_oss_model(
    folder: Path,
    says: Says | None = None,
    *,
    seed: int = 0,
    chat_template: str | None = HARMONY,
    context: int = 2048,
    endless: bool = False,
) -> Path:
    """A tiny gpt-oss: its architecture (mixture of experts in mxfp4, sliding window), tokens and kind of template.

    With `says` it is scripted as `scripted_model` is and ends with `<|return|>`; without, it is random.
    """
    eos = ["<|return|>", "<|call|>", "<|endoftext|>"]
    random = np.random.default_rng(seed)
    script = [] if says is None else _pieces(says, HARMONY_TOKENS)
    if says is None:
        tokenizer, ids = _byte_tokenizer(HARMONY_TOKENS)
    else:
        end = None if endless else _take_end(script, eos)
        tokenizer, ids, steps = _script_tokenizer(script, HARMONY_TOKENS)
    hidden = _code_width(script)
    settings = _gpt_oss_config(tokenizer.get_vocab_size(), hidden, context)
    weights = _gpt_oss_weights(settings, random)
    if says is None:
        _silence_all_but(weights, range(32, 127))
    for name in [name for name in weights if ".experts." in name and name.endswith("weight")]:
        _quantize_to_noise(weights, name, random)
    if says is not None:
        for name in weights:
            if "o_proj" in name or ("down_proj" in name and not name.endswith("scales")):
                weights[name][:] = 0
        _teach(weights, steps, ids[end] if end else None)
    _write(folder, settings, weights, tokenizer, chat_template, eos, None, "float32")
    _edit(folder / "config.json", eos_token_id=ids["<|return|>"])
    return folder


LLAMA3_ROPE: Mapping[str, Any] = {
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}
"""For `random_model(config=…)`: rope scaled as Llama 3.1 does (its frequencies are arrays, but no parameters)."""

SLIDING_WINDOW: Mapping[str, Any] = {
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": 16,
}
"""For `random_model(config=…, layers=2)`: a cache that forgets, so that it cannot be cut back."""


def in_hub_cache(name: str, write: Callable[[Path], object], *, revision: str | None = None) -> Path:
    """Lays the model that `write(folder)` makes out as `name` in the current hub cache; gives its snapshot folder.

    `refs/main` names `revision`, a commit made from the content unless given.
    """
    root = _hub_cache() / f"models--{name.replace('/', '--')}"
    staging = root / "staging"
    staging.mkdir(parents=True)
    write(staging)
    files = sorted(path for path in staging.rglob("*") if path.is_file())
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    commit = revision or hashlib.sha1("".join(hashes.values()).encode()).hexdigest()
    snapshot = root / "snapshots" / commit
    (root / "blobs").mkdir(exist_ok=True)
    for path, digest in hashes.items():
        path.rename(root / "blobs" / digest)
        link = snapshot / path.relative_to(staging)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(root / "blobs" / digest, link.parent))
    for leftover in sorted(staging.rglob("*"), reverse=True):
        leftover.rmdir()
    staging.rmdir()
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    return snapshot


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


# --- tokenizers -------------------------------------------------------------------------------------------------------


def _byte_letters() -> list[str]:
    """The letter that byte-level tokenizers write for each byte: itself where it is visible, else one from 256 on."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = iter(range(256, 512))
    return [chr(byte if byte in visible else next(hidden)) for byte in range(256)]


_LETTERS = _byte_letters()


def _byte_tokenizer(added: Iterable[str]) -> tuple[Tokenizer, dict[str, int]]:
    model = models.BPE(vocab={letter: byte for byte, letter in enumerate(_LETTERS)}, merges=[])
    return _finish_tokenizer(Tokenizer(model), added)


def _script_tokenizer(
    script: Sequence[str | bytes], added: Iterable[str]
) -> tuple[Tokenizer, dict[str, int], list[int]]:
    """A tokenizer with a token of its own for each step of the script, and the tokens of the script.

    Unigram is the one kind whose vocabulary may hold a text twice. Its words cost more than bytes, so that prompts are
    cut into bytes. Of several tokens with an added token's text, the last one in the vocabulary is the added token:
    that must be the first step, the one a prompt may end with.
    """
    texts = [piece.encode() if isinstance(piece, str) else piece for piece in script]
    order = list(reversed(range(len(texts))))
    vocab = [("".join(_LETTERS[byte] for byte in texts[step]), -1e6) for step in order]
    vocab += [(letter, -1.0) for letter in _LETTERS]
    tokenizer, ids = _finish_tokenizer(Tokenizer(models.Unigram(vocab, None, False)), added)
    return tokenizer, ids, [order.index(step) for step in range(len(texts))]


def _finish_tokenizer(tokenizer: Tokenizer, added: Iterable[str]) -> tuple[Tokenizer, dict[str, int]]:
    names = list(dict.fromkeys(added))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return tokenizer, {name: _id(tokenizer, name) for name in names}


def _id(tokenizer: Tokenizer, text: str) -> int:
    found = tokenizer.token_to_id(text)
    assert found is not None, text
    return int(found)


def _pieces(says: Says, markers: Iterable[str]) -> list[str | bytes]:
    if not isinstance(says, str):
        return list(says)
    pieces: list[str | bytes] = []
    marker = "|".join(re.escape(marker) for marker in sorted(set(markers), key=len, reverse=True))
    for part in re.split(f"({marker})", says):
        if part and re.fullmatch(marker, part):
            pieces.append(part)
        else:
            for word in re.findall(r" ?\w+|\s+(?=\s)|\s|[^\w\s]", part):
                data = word.encode()
                pieces += [word] if word.isascii() else [data[: len(data) // 2], data[len(data) // 2 :]]
    return pieces


def _take_end(script: list[str | bytes], eos: Sequence[str]) -> str:
    end = script.pop() if script and script[-1] in eos else eos[0]
    if end in script or not isinstance(end, str):
        raise ValueError(f"the script goes on behind {end!r}, which ends it")
    return end


# --- weights ----------------------------------------------------------------------------------------------------------


def _llama_config(vocab: int, hidden: int, layers: int, context: int, dtype: Dtype) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": hidden // 4,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
    }


def _gpt_oss_config(vocab: int, hidden: int, context: int) -> dict[str, Any]:
    return {
        "model_type": "gpt_oss",
        "architectures": ["GptOssForCausalLM"],
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": hidden,
        "num_hidden_layers": 2,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention"],
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 150000,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": max(1, context // 32),
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
    }


def _llama_weights(config: Mapping[str, Any], random: np.random.Generator) -> Weights:
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    weights = _ends(config, random)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, shape in {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }.items():
            weights[f"{prefix}{name}.weight"] = _noise(random, shape)
    return weights


def _gpt_oss_weights(config: Mapping[str, Any], random: np.random.Generator) -> Weights:
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    experts = config["num_local_experts"]
    weights = _ends(config, random)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        weights[f"{prefix}self_attn.sinks"] = np.zeros(config["num_attention_heads"], np.float32)
        for name, shape in {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "mlp.router": (experts, hidden),
            "mlp.experts.gate_proj": (experts, inner, hidden),
            "mlp.experts.up_proj": (experts, inner, hidden),
            "mlp.experts.down_proj": (experts, hidden, inner),
        }.items():
            weights[f"{prefix}{name}.weight"] = _noise(random, shape)
            weights[f"{prefix}{name}.bias"] = np.zeros(shape[:-1], np.float32)
    return weights


def _ends(config: Mapping[str, Any], random: np.random.Generator) -> Weights:
    """What every network here has: embeddings, the head, and norms that do nothing special."""
    hidden = config["hidden_size"]
    weights = {
        "model.embed_tokens.weight": random.standard_normal((config["vocab_size"], hidden)).astype(np.float32),
        "lm_head.weight": _noise(random, (config["vocab_size"], hidden), scale=2.0),
        "model.norm.weight": np.ones(hidden, np.float32),
    }
    for layer in range(config["num_hidden_layers"]):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{norm}.weight"] = np.ones(hidden, np.float32)
    return weights


def _noise(random: np.random.Generator, shape: tuple[int, ...], scale: float = 1.5) -> NDArray[Any]:
    noise: NDArray[Any] = random.standard_normal(shape) * (scale / np.sqrt(shape[-1]))
    return noise.astype(np.float32)


def _silence_all_but(weights: Weights, said: Iterable[int]) -> None:
    """Only the tokens in `said` get a logit above the others' zero often enough to be chosen."""
    head = weights["lm_head.weight"]
    silent = np.ones(len(head), bool)
    silent[list(said)] = False
    head[silent] = 0


def _quantize_to_noise(weights: Weights, name: str, random: np.random.Generator) -> None:
    """Replaces a weight by random mxfp4 values of about its size: eight 4 bit floats a word, a power of two a group."""
    shape = weights[name].shape
    weights[name] = random.integers(0, 1 << 32, (*shape[:-1], shape[-1] // 8), np.uint32)
    exponent = 127 + round(np.log2(0.5 / np.sqrt(shape[-1])))
    weights[name.removesuffix("weight") + "scales"] = np.full((*shape[:-1], shape[-1] // 32), exponent, np.uint8)


def _code_width(script: Sequence[str | bytes]) -> int:
    return 64 if len(script) < 200 else 128


def _teach(weights: Weights, steps: Sequence[int], end: int | None) -> None:
    """Every token's embedding is the code of what comes next, and the head knows each code's token.

    Codes are random signs: of unit size behind the norm, and all but orthogonal.
    """
    embedding, head = weights["model.embed_tokens.weight"], weights["lm_head.weight"]
    codes = np.random.default_rng(2).choice([-1.0, 1.0], (len(steps) + 1, embedding.shape[1])).astype(np.float32)
    embedding[:] = codes[0]
    head[:] = 0
    for position, token in enumerate(steps):
        embedding[token] = codes[position + 1]
        head[token] = codes[position]
    if end is not None:
        head[end] = codes[-1]
    elif steps:
        embedding[steps[-1]] = codes[0]


# --- files ------------------------------------------------------------------------------------------------------------


def _write(
    folder: Path,
    config: dict[str, Any],
    weights: Weights,
    tokenizer: Tokenizer,
    chat_template: str | None,
    eos: Sequence[str],
    bos: str | None,
    dtype: Dtype,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    ids = [_id(tokenizer, text) for text in eos]
    if bos:
        template = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, _id(tokenizer, bos))]
        )
        tokenizer.post_processor = template
        config["bos_token_id"] = _id(tokenizer, bos)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "eos_token": eos[0],
        "model_max_length": config["max_position_embeddings"],
    }
    if bos:
        settings["bos_token"] = bos
    if chat_template is not None:
        settings["chat_template"] = chat_template
    _dump(folder / "tokenizer_config.json", settings)
    eos_ids: int | list[int] = ids[0] if len(ids) == 1 else ids
    _dump(folder / "config.json", {**config, "eos_token_id": eos_ids})
    _dump(folder / "generation_config.json", {"eos_token_id": eos_ids})
    _save_safetensors(folder / "model.safetensors", weights, dtype)
    return folder


def _save_safetensors(path: Path, weights: Weights, dtype: Dtype) -> None:
    """The safetensors format is a length, a JSON header and the bytes; numpy alone has no bfloat16 to hand over."""
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    chunks, offset = [], 0
    for name in sorted(weights):
        kind, data = _stored(weights[name], dtype)
        header[name] = {
            "dtype": kind,
            "shape": list(weights[name].shape),
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def _stored(array: NDArray[Any], dtype: Dtype) -> tuple[str, bytes]:
    if array.dtype == np.uint32:
        return "U32", array.tobytes()
    if array.dtype == np.uint8:
        return "U8", array.tobytes()
    if dtype == "float16":
        return "F16", array.astype(np.float16).tobytes()
    if dtype == "bfloat16":
        return "BF16", (array.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return "F32", array.astype(np.float32).tobytes()


def _listed(text: str | Sequence[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def _dump(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def _edit(path: Path, **changes: Any) -> None:
    _dump(path, {**json.loads(path.read_text(encoding="utf-8")), **changes})
