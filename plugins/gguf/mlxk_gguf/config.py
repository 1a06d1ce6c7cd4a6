"""Configuration of mlx-lm's module from the metadata of a GGUF file."""

from __future__ import annotations

from typing import Any

from mlxk_gguf.files import GGUFFiles
from mlxk_gguf.support import ARCHITECTURES

# Layer counts of the models whose attention is scaled by another number than the head size. The file does not say so;
# llama.cpp uses the layer count, too.
_GEMMA_27B = {"gemma2": 46, "gemma3": 62}
_ROPE_BASE = {"gemma3": 1_000_000.0}  # of files that do not name one


def network_config(files: GGUFFiles) -> dict[str, Any]:
    """Return the equivalent of `config.json`. `files` are of a supported architecture."""
    names = {tensor.name for tensor in files.tensors}
    shapes = {tensor.name: tensor.shape for tensor in files.tensors}
    layers, heads = files.value("block_count"), files.value("attention.head_count")
    return {
        "model_type": ARCHITECTURES[files.architecture].model_type,
        "vocab_size": shapes["token_embd.weight"][1],
        "hidden_size": files.value("embedding_length"),
        "intermediate_size": files.value("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": files.value("attention.head_count_kv", heads),
        "head_dim": files.value("attention.key_length") or files.value("embedding_length") // heads,
        "max_position_embeddings": files.value("context_length", 4096),
        "rms_norm_eps": files.value("attention.layer_norm_rms_epsilon", 1e-5),
        "rope_theta": files.value("rope.freq_base", _ROPE_BASE.get(files.architecture, 10000.0)),
        "rope_scaling": _rope_scaling(files),
        "tie_word_embeddings": "output.weight" not in names,
        "attention_bias": "blk.0.attn_q.bias" in names,
        "mlp_bias": "blk.0.ffn_up.bias" in names,
        **(_gemma(files) if files.architecture in _GEMMA_27B else {}),
    }


def _gemma(files: GGUFFiles) -> dict[str, Any]:
    """Return the settings of Gemma 2 and 3 only; each module ignores those of the other."""
    hidden, heads = files.value("embedding_length"), files.value("attention.head_count")
    is_27b = files.value("block_count") == _GEMMA_27B[files.architecture]
    pattern = files.value("attention.sliding_window_pattern")
    return {
        "query_pre_attn_scalar": hidden // heads if is_27b else files.value("attention.key_length", hidden // heads),
        "attn_logit_softcapping": files.value("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": files.value("final_logit_softcapping", 30.0),
        "sliding_window": files.value("attention.sliding_window", 512),
        "sliding_window_pattern": pattern if isinstance(pattern, int) else 6,
        "rope_local_base_freq": files.value("rope.freq_base_swa", 10_000.0),
    }


def _rope_scaling(files: GGUFFiles) -> dict[str, Any] | None:
    kind = files.value("rope.scaling.type", "none")
    factor = files.value("rope.scaling.factor", 1.0)
    if kind == "none" or factor == 1.0:
        return None
    scaling = {"type": kind, "rope_type": kind, "factor": factor}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = files.value("rope.scaling.original_context_length", 4096)
        for ours, theirs in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
            if (value := files.value(f"rope.scaling.{theirs}")) is not None:
                scaling[ours] = value
    return scaling
