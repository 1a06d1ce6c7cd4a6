"""Nomic-BERT: rotary positions and gated feed-forward layers, normalized after adding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxk_core.api.errors import BrokenModel, UnsupportedModel
from mlxk_encoders.layers import Encoder, EncoderLayer, activation, split_heads
from mlxk_encoders.model_config import ModelConfig

_RENAMED = (
    (re.compile(r"^(nomic_bert|bert|model)\."), ""),
    (re.compile(r"^encoder\.layers\."), "layers."),
    (re.compile(r"^emb_ln\.|^embeddings\.LayerNorm\."), "embeddings.norm."),
    (re.compile(r"\.attn\.out_proj\.|\.self_attn\.o_proj\."), ".attention.out."),
    (re.compile(r"\.attn\."), ".attention."),
    (re.compile(r"\.self_attn\.(q|k|v)_proj\."), r".attention.\1."),
    (re.compile(r"\.mlp\.fc11\.|\.mlp\.up_proj\."), ".mlp.up."),
    (re.compile(r"\.mlp\.fc12\.|\.mlp\.gate_proj\."), ".mlp.gate."),
    (re.compile(r"\.mlp\.fc2\.|\.mlp\.down_proj\."), ".mlp.down."),
    (re.compile(r"\.post_attention_layernorm\."), ".norm1."),
    (re.compile(r"\.post_mlp_layernorm\."), ".norm2."),
)
_UNUSED = re.compile(r"^(cls|pooler)\.|(^|\.)(position_ids|token_type_ids|inv_freq)$")
_SWIGLU = ("swiglu", "silu", "swish")
_LARGEST_FACTOR = 1e6
"""Of rotary positions; published models have 2."""


def rename(name: str) -> str:
    """Return the name in this module of a tensor of the published files, or of transformers."""
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return name


def is_unused(name: str, *, classifies: bool) -> bool:
    """Return whether a renamed tensor belongs to a part that is not built."""
    return bool(_UNUSED.search(name))


def merge(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """Return the weights with queries, keys and values in one, as the published files have them."""
    merged = dict(weights)
    for name in weights:
        if ".attention.q." in name:
            parts = [merged.pop(name.replace(".q.", f".{part}.")) for part in ("q", "k", "v")]
            merged[name.replace(".q.", ".Wqkv.")] = mx.concatenate(parts, axis=0)
    return merged


class Network(Encoder):
    """`config.json` is the published one (`n_embd`, …) or that of transformers (`hidden_size`, …)."""

    def __init__(self, config: ModelConfig, labels: int | None) -> None:
        super().__init__()
        if config.flag("prenorm", default=False):
            raise UnsupportedModel("Nomic-BERT with prenorm is not supported.")
        hidden = config.hidden_size("n_embd", "hidden_size")
        self.embeddings = _Embeddings(config, hidden)
        self.layers = [_Layer(config, hidden) for _ in range(config.count("n_layer", "num_hidden_layers"))]

    def embed(self, tokens: mx.array, types: mx.array | None) -> mx.array:
        return self.embeddings(tokens, types)


class _Embeddings(nn.Module):
    def __init__(self, config: ModelConfig, hidden: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.count("vocab_size"), hidden)
        types = config.count("type_vocab_size", default=2)
        if types:
            self.token_type_embeddings = nn.Embedding(types, hidden)
        self.norm = _norm(config, hidden)

    def __call__(self, tokens: mx.array, types: mx.array | None) -> mx.array:
        states = self.word_embeddings(tokens)
        if "token_type_embeddings" in self:
            states = states + self.token_type_embeddings(mx.zeros_like(tokens) if types is None else types)
        return self.norm(states)


class _Attention(nn.Module):
    def __init__(self, config: ModelConfig, hidden: int) -> None:
        super().__init__()
        bias = config.flag("qkv_proj_bias", default=False)
        self.heads = config.heads("n_head", "num_attention_heads", hidden=hidden)
        self._rotated = int(hidden // self.heads * config.fraction("rotary_emb_fraction", default=1.0))
        self._rope = _Rope.of(config, self._rotated)
        self._interleaved = config.flag("rotary_emb_interleaved", default=False)
        self.Wqkv = nn.Linear(hidden, 3 * hidden, bias=bias)
        self.out = nn.Linear(hidden, hidden, bias=bias)

    def project(self, states: mx.array, start: int, length: int) -> tuple[mx.array, mx.array, mx.array]:
        parts = mx.split(self.Wqkv(states), 3, axis=-1)
        queries, keys, values = (split_heads(part, self.heads) for part in parts)
        base = self._rope.base(length)
        queries, keys = (
            mx.fast.rope(each, self._rotated, traditional=self._interleaved, base=base, scale=1.0, offset=start)
            for each in (queries, keys)
        )
        return queries, keys, values


class _FeedForward(nn.Module):
    def __init__(self, config: ModelConfig, hidden: int) -> None:
        super().__init__()
        name = config.text("activation_function", "hidden_act", default="swiglu")
        if name not in _SWIGLU:
            raise UnsupportedModel(f"Nomic-BERT with the activation {name} is not supported; swiglu is.")
        inner = config.count("n_inner", "intermediate_size")
        first, second = (config.flag(f"mlp_fc{number}_bias", default=False) for number in (1, 2))
        self._activation = activation("silu")
        self.up, self.gate = (nn.Linear(hidden, inner, bias=first) for _ in range(2))
        self.down = nn.Linear(inner, hidden, bias=second)

    def __call__(self, states: mx.array) -> mx.array:
        return self.down(self.up(states) * self._activation(self.gate(states)))


class _Layer(EncoderLayer):
    def __init__(self, config: ModelConfig, hidden: int) -> None:
        super().__init__()
        self.attention = _Attention(config, hidden)
        self.heads, self.head_size = self.attention.heads, hidden // self.attention.heads
        self.norm1 = _norm(config, hidden)
        self.mlp = _FeedForward(config, hidden)
        self.norm2 = _norm(config, hidden)

    def project(self, states: mx.array, start: int, length: int) -> tuple[mx.array, mx.array, mx.array]:
        return self.attention.project(states, start, length)

    def combine(self, states: mx.array, attended: mx.array) -> mx.array:
        states = self.norm1(states + self.attention.out(attended))
        return self.norm2(states + self.mlp(states))


def _norm(config: ModelConfig, hidden: int) -> nn.LayerNorm:
    return nn.LayerNorm(hidden, eps=config.positive("layer_norm_epsilon", "layer_norm_eps", default=1e-12))


@dataclass(frozen=True)
class _Rope:
    """The base of the rotary angles of heads with `size` rotated numbers. With a `factor` it grows for inputs longer
    than the `trained` tokens."""

    theta: float
    size: int
    factor: float | None = None
    trained: int = 0

    @classmethod
    def of(cls, config: ModelConfig, size: int) -> _Rope:
        parameters: Any = config.raw("rope_parameters")
        if isinstance(parameters, Mapping):
            kind = parameters.get("rope_type", "default")
            own = ModelConfig(parameters, config.name)
            theta = own.positive("rope_theta", default=1000.0)
            if kind == "default":
                return cls(theta, size)
            if kind == "dynamic":
                return cls._growing(
                    theta, size, own.positive("factor"), config.count("max_position_embeddings"), config
                )
            raise UnsupportedModel(f"Rotary scaling of type {kind} is not supported for Nomic-BERT.")
        if config.raw("rotary_emb_scale_base"):
            raise UnsupportedModel("Nomic-BERT with scaled rotary positions (xPos) is not supported.")
        theta = config.positive("rotary_emb_base", default=1000.0)
        if config.raw("rotary_scaling_factor") is None:
            return cls(theta, size)
        trained = config.count("max_trained_positions", default=2048)
        return cls._growing(theta, size, config.positive("rotary_scaling_factor"), trained, config)

    @classmethod
    def _growing(cls, theta: float, size: int, factor: float, trained: int, config: ModelConfig) -> _Rope:
        """Raises `BrokenModel` for numbers whose base cannot be computed for every length."""
        if size <= 2 or trained == 0 or factor > _LARGEST_FACTOR:
            raise BrokenModel(
                f"config.json of `{config.name}`: {size} rotated numbers a head cannot grow by {factor} after "
                f"{trained} tokens.",
                model=config.name,
            )
        return cls(theta, size, factor, trained)

    def base(self, length: int) -> float:
        """Return the base for inputs of `length` tokens."""
        if self.factor is None or length <= self.trained:
            return self.theta
        growth = self.factor * length / self.trained - (self.factor - 1)
        return float(self.theta * growth ** (self.size / (self.size - 2)))
