"""ModernBERT: rotary positions, attention that is local in most layers, gated feed-forward layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxk_core.api.errors import UnsupportedModel
from mlxk_encoders.layers import Encoder, EncoderLayer, activation, split_heads
from mlxk_encoders.model_config import ModelConfig

_PREFIX = re.compile(r"^model\.")
_UNUSED = re.compile(r"^(decoder)\.|(^|\.)inv_freq$")
_CLASSIFIER = ("head.", "classifier.")


def rename(name: str) -> str:
    """Return the name in this module of a tensor of transformers."""
    return _PREFIX.sub("", name)


def is_unused(name: str, *, classifies: bool) -> bool:
    """Return whether a renamed tensor belongs to a part that is not built."""
    return bool(_UNUSED.search(name)) or (name.startswith(_CLASSIFIER) and not classifies)


class Network(Encoder):
    """Each layer normalizes before it computes; the first one has normalized embeddings already."""

    def __init__(self, config: ModelConfig, labels: int | None) -> None:
        super().__init__()
        hidden = config.hidden_size("hidden_size")
        self.embeddings = _Embeddings(config, hidden)
        count = config.count("num_hidden_layers")
        self.layers = [_Layer(config, hidden, number, _is_local(config, number)) for number in range(count)]
        self.final_norm = _norm(config, hidden)
        if labels is not None:
            self._pooling = config.text("classifier_pooling", default="cls")
            self.head = _Head(config, hidden)
            self.classifier = nn.Linear(hidden, labels)

    def embed(self, tokens: mx.array, types: mx.array | None) -> mx.array:
        return self.embeddings(tokens)

    def finish(self, states: mx.array) -> mx.array:
        return self.final_norm(states)

    def classify(self, states: mx.array, valid: mx.array | None) -> mx.array:
        if self._pooling == "cls":
            pooled = states[:, 0]
        elif valid is None:
            pooled = states.mean(axis=1)
        else:
            pooled = mx.where(valid[..., None], states, 0.0).sum(axis=1) / valid.sum(axis=1, keepdims=True)
        return self.classifier(self.head(pooled))


class _Embeddings(nn.Module):
    def __init__(self, config: ModelConfig, hidden: int) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(config.count("vocab_size"), hidden)
        self.norm = _norm(config, hidden)

    def __call__(self, tokens: mx.array) -> mx.array:
        return self.norm(self.tok_embeddings(tokens))


class _Attention(nn.Module):
    def __init__(self, config: ModelConfig, hidden: int, local: bool) -> None:
        super().__init__()
        bias = config.flag("attention_bias", default=False)
        self.heads = config.heads("num_attention_heads", hidden=hidden)
        self._base = _rope_base(config, local)
        self.Wqkv = nn.Linear(hidden, 3 * hidden, bias=bias)
        self.Wo = nn.Linear(hidden, hidden, bias=bias)

    def project(self, states: mx.array, start: int) -> tuple[mx.array, mx.array, mx.array]:
        parts = mx.split(self.Wqkv(states), 3, axis=-1)
        queries, keys, values = (split_heads(part, self.heads) for part in parts)
        size = queries.shape[-1]
        queries, keys = (
            mx.fast.rope(each, size, traditional=False, base=self._base, scale=1.0, offset=start)
            for each in (queries, keys)
        )
        return queries, keys, values


class _FeedForward(nn.Module):
    def __init__(self, config: ModelConfig, hidden: int) -> None:
        super().__init__()
        inner = config.count("intermediate_size")
        bias = config.flag("mlp_bias", default=False)
        self._activation = activation(config.text("hidden_activation", default="gelu"))
        self.Wi = nn.Linear(hidden, 2 * inner, bias=bias)
        self.Wo = nn.Linear(inner, hidden, bias=bias)

    def __call__(self, states: mx.array) -> mx.array:
        values, gates = mx.split(self.Wi(states), 2, axis=-1)
        return self.Wo(self._activation(values) * gates)


class _Layer(EncoderLayer):
    def __init__(self, config: ModelConfig, hidden: int, number: int, local: bool) -> None:
        super().__init__()
        self._first = number == 0
        # The config counts the tokens on both sides.
        self.window = config.count("local_attention", default=128) // 2 if local else None
        if not self._first:
            self.attn_norm = _norm(config, hidden)
        self.attn = _Attention(config, hidden, local)
        self.heads, self.head_size = self.attn.heads, hidden // self.attn.heads
        self.mlp_norm = _norm(config, hidden)
        self.mlp = _FeedForward(config, hidden)

    def project(self, states: mx.array, start: int, length: int) -> tuple[mx.array, mx.array, mx.array]:
        return self.attn.project(states if self._first else self.attn_norm(states), start)

    def combine(self, states: mx.array, attended: mx.array) -> mx.array:
        states = states + self.attn.Wo(attended)
        return states + self.mlp(self.mlp_norm(states))


class _Head(nn.Module):
    def __init__(self, config: ModelConfig, hidden: int) -> None:
        super().__init__()
        self._activation = activation(config.text("classifier_activation", default="gelu"))
        self.dense = nn.Linear(hidden, hidden, bias=config.flag("classifier_bias", default=False))
        self.norm = _norm(config, hidden)

    def __call__(self, states: mx.array) -> mx.array:
        return self.norm(self._activation(self.dense(states)))


def _norm(config: ModelConfig, hidden: int) -> nn.LayerNorm:
    bias = config.flag("norm_bias", default=False)
    return nn.LayerNorm(hidden, eps=config.positive("norm_eps", default=1e-5), bias=bias)


def _is_local(config: ModelConfig, number: int) -> bool:
    kinds = config.raw("layer_types")
    if isinstance(kinds, list) and number < len(kinds):
        return bool(kinds[number] == "sliding_attention")
    return bool(number % max(1, config.count("global_attn_every_n_layers", default=3)))


def _rope_base(config: ModelConfig, local: bool) -> float:
    """Return the base of the rotary angles, from configs of transformers 5 or of before."""
    every: Any = config.raw("rope_parameters")
    own = every.get("sliding_attention" if local else "full_attention") if isinstance(every, Mapping) else None
    if isinstance(own, Mapping):
        if own.get("rope_type", "default") != "default":
            raise UnsupportedModel(f"Rotary scaling of type {own['rope_type']} is not supported for ModernBERT.")
        if isinstance(own.get("rope_theta"), int | float):
            return float(own["rope_theta"])
    if config.raw("rope_scaling"):
        raise UnsupportedModel("Rotary scaling is not supported for ModernBERT.")
    if local:
        return config.positive("local_rope_theta", default=10_000.0)
    return config.positive("global_rope_theta", default=160_000.0)
