"""BERT, RoBERTa, XLM-RoBERTa and CamemBERT: one network whose positions start at different numbers."""

from __future__ import annotations

import re

import mlx.core as mx
import mlx.nn as nn

from mlxk_core.api.errors import BrokenModel
from mlxk_encoders.layers import Encoder, EncoderLayer, activation, split_heads
from mlxk_encoders.model_config import ModelConfig

_RENAMED = (
    (re.compile(r"^(bert|roberta|camembert|model)\."), ""),
    (re.compile(r"\.gamma$"), ".weight"),
    (re.compile(r"\.beta$"), ".bias"),
    (re.compile(r"^embeddings\.LayerNorm\."), "embeddings.norm."),
    (re.compile(r"^encoder\.layer\."), "layers."),
    (re.compile(r"\.attention\.self\."), ".attention."),
    (re.compile(r"\.attention\.output\.dense\."), ".attention.out."),
    (re.compile(r"\.attention\.output\.LayerNorm\."), ".attention_norm."),
    (re.compile(r"\.intermediate\.dense\."), ".up."),
    (re.compile(r"(layers\.\d+)\.output\.dense\."), r"\1.down."),
    (re.compile(r"(layers\.\d+)\.output\.LayerNorm\."), r"\1.output_norm."),
    (re.compile(r"^pooler\.dense\."), "head.dense."),  # of BERT's classifier
    (re.compile(r"^classifier\.dense\."), "head.dense."),
    (re.compile(r"^classifier\.out_proj\."), "head.out."),
    (re.compile(r"^classifier\."), "head.out."),
)
_UNUSED = re.compile(r"^(cls|lm_head|head)\.|(^|\.)position_ids$|\.token_type_ids$")


def rename(name: str) -> str:
    """Return the name in this module of a tensor of transformers."""
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return name


def is_unused(name: str, *, classifies: bool) -> bool:
    """Return whether a renamed tensor belongs to a part that is not built."""
    if name.startswith("head."):
        return not classifies
    return bool(_UNUSED.search(name))


class Network(Encoder):
    """Positions are learned; each layer normalizes after adding."""

    def __init__(self, config: ModelConfig, labels: int | None) -> None:
        super().__init__()
        hidden = config.hidden_size("hidden_size")
        self.embeddings = _Embeddings(config, hidden)
        self.layers = [_Layer(config, hidden) for _ in range(config.count("num_hidden_layers"))]
        if labels is not None:
            self.head = _Head(hidden, labels)

    def embed(self, tokens: mx.array, types: mx.array | None) -> mx.array:
        return self.embeddings(tokens, types)

    def classify(self, states: mx.array, valid: mx.array | None) -> mx.array:
        return self.head(states[:, 0])


class _Embeddings(nn.Module):
    def __init__(self, config: ModelConfig, hidden: int) -> None:
        super().__init__()
        roberta = config.text("model_type", default="bert") != "bert"
        self._first = config.count("pad_token_id", default=1) + 1 if roberta else 0
        self.word_embeddings = nn.Embedding(config.count("vocab_size"), hidden)
        self.position_embeddings = nn.Embedding(config.count("max_position_embeddings"), hidden)
        self.token_type_embeddings = nn.Embedding(config.count("type_vocab_size", default=2), hidden)
        self.norm = nn.LayerNorm(hidden, eps=config.positive("layer_norm_eps", default=1e-12))

    def __call__(self, tokens: mx.array, types: mx.array | None) -> mx.array:
        end, count = self._first + tokens.shape[1], self.position_embeddings.weight.shape[0]
        if end > count:  # MLX would read the memory after the table
            raise BrokenModel(f"config.json gives a token the position {end - 1:,} (0 to {count - 1:,}).")
        positions = mx.arange(self._first, end)
        types = mx.zeros_like(tokens) if types is None else types
        states = self.word_embeddings(tokens) + self.token_type_embeddings(types)
        return self.norm(states + self.position_embeddings(positions))


class _Attention(nn.Module):
    def __init__(self, config: ModelConfig, hidden: int) -> None:
        super().__init__()
        self.heads = config.heads("num_attention_heads", hidden=hidden)
        self.query, self.key, self.value, self.out = (nn.Linear(hidden, hidden) for _ in range(4))

    def project(self, states: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        queries, keys, values = (split_heads(part(states), self.heads) for part in (self.query, self.key, self.value))
        return queries, keys, values


class _Layer(EncoderLayer):
    def __init__(self, config: ModelConfig, hidden: int) -> None:
        super().__init__()
        eps = config.positive("layer_norm_eps", default=1e-12)
        inner = config.count("intermediate_size")
        self._activation = activation(config.text("hidden_act", default="gelu"))
        self.attention = _Attention(config, hidden)
        self.heads, self.head_size = self.attention.heads, hidden // self.attention.heads
        self.attention_norm = nn.LayerNorm(hidden, eps=eps)
        self.up = nn.Linear(hidden, inner)
        self.down = nn.Linear(inner, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=eps)

    def project(self, states: mx.array, start: int, length: int) -> tuple[mx.array, mx.array, mx.array]:
        return self.attention.project(states)

    def combine(self, states: mx.array, attended: mx.array) -> mx.array:
        states = self.attention_norm(states + self.attention.out(attended))
        return self.output_norm(states + self.down(self._activation(self.up(states))))


class _Head(nn.Module):
    """The classifier reads the first token: BERT's through its pooler, RoBERTa's through a layer of its own."""

    def __init__(self, hidden: int, labels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, labels)

    def __call__(self, states: mx.array) -> mx.array:
        return self.out(mx.tanh(self.dense(states)))
