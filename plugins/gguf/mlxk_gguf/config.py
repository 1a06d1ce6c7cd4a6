"""From the metadata of a GGUF file to the configuration of mlx-lm's module."""

from __future__ import annotations

from typing import Any

from mlxk_gguf.files import GGUFFiles
from mlxk_gguf.support import ARCHITECTURES

# Ids of tokens that end an answer: of a text, of a turn, of a message.
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")


def network_config(files: GGUFFiles) -> dict[str, Any]:
    """What `config.json` would say. `files` are of a supported architecture."""
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
        "rope_theta": files.value("rope.freq_base", 10000.0),
        "rope_scaling": _rope_scaling(files),
        "tie_word_embeddings": "output.weight" not in names,
        "attention_bias": "blk.0.attn_q.bias" in names,
        "mlp_bias": "blk.0.ffn_up.bias" in names,
        "eos_token_id": ending_tokens(files),
    }


def ending_tokens(files: GGUFFiles) -> list[int]:
    """The ids the file names as the end of an answer, under any name."""
    named = (files.metadata.get(f"tokenizer.ggml.{key}") for key in _ENDS)
    return list(dict.fromkeys(token for token in named if isinstance(token, int)))


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
