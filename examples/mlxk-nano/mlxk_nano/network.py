"""The network, and the load that puts it into the engine of mlxk-mlx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxk_core.api.backends import EngineContext
from mlxk_core.api.models import Model
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.load import load_tokenizer, prepare


# --8<-- [start:load]
def load(model: Model, context: EngineContext) -> Any:
    runtime.start_on_engine_thread(context)  # before anything else of MLX
    context.alive()
    import mlx.core as mx

    network = build(model.config)
    network.load_weights(list(mx.load(str(model.path / "model.safetensors")).items()))
    return prepare(model, network, lambda: load_tokenizer(model), context)


# --8<-- [end:load]


# --8<-- [start:network]
def build(config: Mapping[str, Any]) -> Any:
    """Return the network of a config, with random weights."""
    import mlx.core as mx
    import mlx.nn as nn
    from mlx_lm.models.base import create_attention_mask, scaled_dot_product_attention

    size, heads = int(config["hidden_size"]), int(config["heads"])

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.RMSNorm(size)
            self.qkv = nn.Linear(size, 3 * size, bias=False)
            self.out = nn.Linear(size, size, bias=False)
            self.rope = nn.RoPE(size // heads)

        def __call__(self, x: mx.array, mask: Any, cache: Any) -> mx.array:
            rows, length, _ = x.shape
            parts = mx.split(self.qkv(self.norm(x)), 3, axis=-1)
            q, k, v = (part.reshape(rows, length, heads, -1).transpose(0, 2, 1, 3) for part in parts)
            q, k = self.rope(q, offset=cache.offset), self.rope(k, offset=cache.offset)
            k, v = cache.update_and_fetch(k, v)
            y = scaled_dot_product_attention(q, k, v, cache=cache, scale=(size // heads) ** -0.5, mask=mask)
            return x + self.out(y.transpose(0, 2, 1, 3).reshape(rows, length, -1))

    class Network(nn.Module):
        """Called as the networks of mlx-lm are: `network(tokens, cache=[…])` returns logits."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(int(config["vocab_size"]), size)
            self.layers = [Block() for _ in range(int(config["layers"]))]
            self.norm = nn.RMSNorm(size)

        def __call__(self, tokens: mx.array, cache: Any = None) -> mx.array:
            x = self.embedding(tokens)
            cache = cache or [None] * len(self.layers)
            mask = create_attention_mask(x, cache[0])
            for layer, kept in zip(self.layers, cache, strict=True):
                x = layer(x, mask, kept)
            return self.embedding.as_linear(self.norm(x))

    return Network()


# --8<-- [end:network]
