"""What the caches of a network take and can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from mlxk_core.api.errors import InsufficientMemory
from mlxk_mlx.engine.attention_heads import observed_heads
from mlxk_mlx.engine.prompt_cache import Cache
from mlxk_mlx.loading.config_check import MOST_LAYERS

_UNPADDED = frozenset({"bailing_hybrid", "bailing_moe_linear", "longcat_flash_ngram", "nemotron_h"})
"""Networks of mlx-lm 0.32.2 whose state takes in the padding before the shorter one of two prompts."""
_LARGEST_WINDOW = (1 << 31) - 1
_MOST_HEADS = 1024
_MOST_HEADS_IN_ALL = 1 << 15
"""Of queries; published networks have up to 128, and 16,128 in all layers together. Each has a score for each token of
the context."""


@dataclass(frozen=True, slots=True)
class CacheFootprint:
    """Memory and abilities of a network's caches: bytes per token, and whether they can be trimmed.

    `windows` are bytes per token and tokens of the layers that keep the last tokens only, `state_bytes` what a row
    takes whatever its length. `padded` caches skip the padding of a batch whose prompts have different lengths.
    `heads` are those of the queries of a layer at most, `all_heads` those of all layers, and `all_widths` the numbers
    of their keys and values; 0 if the network has attention of its own.
    """

    bytes_per_token: float
    windows: tuple[tuple[float, int], ...]
    state_bytes: int
    trimmable: bool
    sliding_window: bool
    padded: bool
    heads: int
    all_heads: int
    all_widths: int

    @classmethod
    def of(cls, network: Any) -> CacheFootprint:
        """Measure the shapes of a one-token pass, which is never evaluated.

        Raises `ValueError` for a sliding window that mlx-lm's caches cannot have: every batch would fail. So it does
        for more heads and layers than any network has.
        """
        cache: Cache = make_prompt_cache(network)
        if len(cache) > MOST_LAYERS:
            raise ValueError(f"it has caches for {len(cache):,} layers (at most {MOST_LAYERS})")
        with observed_heads() as heads:
            network(mx.array([[0]]), cache=cache)
        most, together = max((layer.number for layer in heads), default=0), sum(layer.number for layer in heads)
        if most > _MOST_HEADS:
            raise ValueError(f"its attention has {most:,} heads (at most {_MOST_HEADS:,})")
        if together > _MOST_HEADS_IN_ALL:
            raise ValueError(f"its layers have {together:,} heads (at most {_MOST_HEADS_IN_ALL:,})")
        flat = [inner for layer in cache for inner in getattr(layer, "caches", [layer])]
        windows = [layer.max_size for layer in flat if hasattr(layer, "max_size")]
        if any(not isinstance(window, int) or not 0 < window <= _LARGEST_WINDOW for window in windows):
            raise ValueError("a sliding window is out of range")
        held, state, windowed = 0.0, 0, []
        for layer in flat:
            if getattr(layer, "keys", None) is None:
                state += layer.nbytes
            elif hasattr(layer, "max_size"):
                windowed.append((layer.nbytes / layer.keys.shape[2], layer.max_size))
            else:
                held += layer.nbytes / layer.keys.shape[2]
        trimmable = not windows and all(layer.is_trimmable() for layer in flat)
        padded = type(network).__module__.rpartition(".")[2] not in _UNPADDED
        widths = sum(layer.number * layer.width for layer in heads)
        return cls(held, tuple(windowed), state, trimmable, bool(windows), padded, most, together, widths)

    def scores(self, tokens: int) -> tuple[int, int]:
        """Return how many scores a token has with `tokens` before it, in all layers, and of how many numbers of keys
        and values they are made."""
        return self.all_heads * tokens, self.all_widths * tokens

    def row_bytes(self, tokens: int) -> int:
        """Return the bytes of the caches of a row with so many tokens."""
        windows = sum(each * min(tokens, window) for each, window in self.windows)
        return int(self.bytes_per_token * tokens + windows) + self.state_bytes


def check_free_memory(needed: int, prompt_tokens: int) -> None:
    """Raise `InsufficientMemory` if the `needed` bytes of a prompt are not free: Metal would abort the process."""
    limit = mx.device_info().get("max_recommended_working_set_size") or mx.get_memory_limit()
    free = max(0, int(limit) - mx.get_active_memory())
    if needed > free:
        raise InsufficientMemory(
            f"Not enough memory for a prompt of {prompt_tokens} tokens: it needs {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free. Shorten the prompt or use a smaller model.",
            needed=needed,
            free=free,
        )
