"""Weights of tiny models: random, or such that the model says a script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[Any]]
Dtype = Literal["float32", "float16", "bfloat16"]


def llama_config(vocab: int, hidden: int, layers: int, context: int, dtype: Dtype) -> dict[str, Any]:
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


def gpt_oss_config(vocab: int, hidden: int, context: int) -> dict[str, Any]:
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


def llama_weights(config: Mapping[str, Any], random: np.random.Generator) -> Weights:
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


def gpt_oss_weights(config: Mapping[str, Any], random: np.random.Generator) -> Weights:
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
    """Return the weights that every network has: embeddings, the head, and neutral norms."""
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


def silence_all_but(weights: Weights, said: Iterable[int]) -> None:
    """Set the logits of all tokens but those in `said` to 0, which are then practically never chosen."""
    head = weights["lm_head.weight"]
    silent = np.ones(len(head), bool)
    silent[list(said)] = False
    head[silent] = 0


def quantize_to_noise(weights: Weights, name: str, random: np.random.Generator) -> None:
    """Replace a weight with random mxfp4 values of its size: eight 4-bit floats per word, a power of two per group."""
    shape = weights[name].shape
    weights[name] = random.integers(0, 1 << 32, (*shape[:-1], shape[-1] // 8), np.uint32)
    exponent = 127 + round(np.log2(0.5 / np.sqrt(shape[-1])))
    weights[name.removesuffix("weight") + "scales"] = np.full((*shape[:-1], shape[-1] // 32), exponent, np.uint8)


def code_width(script: Sequence[str | bytes]) -> int:
    return 64 if len(script) < 200 else 128


def teach(
    weights: Weights, steps: Sequence[int], end: int | None, after: Mapping[int, Sequence[int]] | None = None
) -> None:
    """Make every token's embedding the code of the next token, and let the head map each code to its token.

    Codes are random signs: of unit size after the norm, and almost orthogonal. `after` has the steps that follow a
    token of the prompt, by its id; they lead to the same end.
    """
    embedding, head = weights["model.embed_tokens.weight"], weights["lm_head.weight"]
    others = dict(after or {})
    count = len(steps) + 1 + sum(map(len, others.values()))
    codes = np.random.default_rng(2).choice([-1.0, 1.0], (count, embedding.shape[1])).astype(np.float32)
    last = codes[len(steps)] if end is not None or not steps else codes[0]
    embedding[:] = codes[0]
    head[:] = 0
    free = list(codes[len(steps) + 1 :])
    for start, script in [(None, list(steps)), *others.items()]:
        leading = codes[: len(steps)] if start is None else [free.pop(0) for _ in script]
        if start is not None:
            embedding[start] = leading[0]
        for position, token in enumerate(script):
            head[token] = leading[position]
            embedding[token] = leading[position + 1] if position + 1 < len(script) else last
    if end is not None:
        head[end] = last


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
