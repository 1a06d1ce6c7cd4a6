"""Support of GGUF files by this backend, from their headers alone, without MLX."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlxk_core.api import Model, Verdict
from mlxk_core.api.errors import BrokenModel
from mlxk_gguf.files import GGUFFiles, open_files

# What `mx.load` reads, with their numbers in a file. The last three come as float16; any other type vanishes from its
# result without a word, or ends the load (ml-explore/mlx, mlx/io/gguf.cpp).
TENSOR_TYPES = {"F32": 0, "F16": 1, "BF16": 30, "Q4_0": 2, "Q4_1": 3, "Q8_0": 8, "Q2_K": 10, "Q4_K": 12, "Q6_K": 14}
# Splitters of text whose regular expressions are known: ours (tokenizer.py) and those transformers has for GGUF.
# Another splitter would give the model tokens that it was not trained on, without an error.
SPLITTERS = frozenset(
    {
        "default", "gpt-2", "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "olmo",
        "mpt", "llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "lfm2", "smaug-bpe", "tekken",
        "qwen2", "deepseek-r1-qwen", "megrez", "qwen35", "gpt-4o", "llama4",
    }
)  # fmt: skip
VOCABULARIES = frozenset({"gpt2", "llama"})  # byte-level BPE, sentencepiece


@dataclass(frozen=True)
class Architecture:
    """A GGUF architecture: mlx-lm's module, and the changes of llama.cpp's converter.

    `interleaved`: the rows of the query and key projections of each head were reordered, so that rotary pairs are
    neighbours. `norms_raised`: 1 was added to the weights of norms. `layer` names a layer's tensors as `{GGUF name:
    mlx-lm name}`.
    """

    model_type: str
    layer: Mapping[str, str]
    interleaved: bool = False
    norms_raised: bool = False


_ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_QK_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_OUTER_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}

ARCHITECTURES: Mapping[str, Architecture] = {
    # Llama 1 to 3, Mistral, SmolLM 1 and 2, Yi and many others: llama.cpp writes them all as llama.
    "llama": Architecture("llama", _LAYER, interleaved=True),
    "smollm3": Architecture("smollm3", _LAYER, interleaved=True),
    "qwen2": Architecture("qwen2", _LAYER),
    "qwen3": Architecture("qwen3", _LAYER | _QK_NORMS),
    "gemma": Architecture("gemma", _LAYER, norms_raised=True),
    "gemma2": Architecture("gemma2", _LAYER | _OUTER_NORMS, norms_raised=True),
    "gemma3": Architecture("gemma3_text", _LAYER | _OUTER_NORMS | _QK_NORMS, norms_raised=True),
}
ROPE_FACTORS = "rope_freqs.weight"  # Llama 3.1's frequency scaling, as a factor for each pair
_ROPE_SCALINGS = ("none", "linear", "yarn")
_SIZES = (
    "context_length", "attention.key_length", "attention.value_length", "attention.sliding_window",
    "rope.dimension_count", "rope.scaling.original_context_length",
)  # fmt: skip
_NUMBERS = (
    "attention.layer_norm_rms_epsilon", "attn_logit_softcapping", "final_logit_softcapping", "rope.freq_base",
    "rope.freq_base_swa", "rope.scaling.factor", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
)  # fmt: skip
_LARGEST = 1e12
_LONGEST_REASON = 1000  # characters: a file may have a list of a million where a name is expected


def accepts(model: Model) -> Verdict:
    """Return yes for GGUF files that run, no with the reason for others, and foreign for other models."""
    try:
        if model.gguf_path is None:
            return _nothing_chosen(model)
        reason = reason_against(open_files(model))
    except BrokenModel as error:
        return Verdict.no(str(error))
    return Verdict.no(reason) if reason else Verdict.yes()


def _nothing_chosen(model: Model) -> Verdict:
    names = [variant.name for variant in model.variants]
    if model.variant is not None:
        return Verdict.no(f"no GGUF variant {model.variant}. Available: {', '.join(names) or 'none'}")
    if not names:
        return Verdict.foreign("no GGUF file")
    if model.has_other_weights:
        return Verdict.foreign(f"its other weights are preferred. Add :VARIANT for a GGUF variant: {', '.join(names)}")
    return Verdict.no(f"several GGUF variants: {', '.join(names)}. Add :VARIANT to choose one")


def reason_against(files: GGUFFiles) -> str | None:
    """Return why `files` cannot be run, or None."""
    reason = next(_reasons_against(files), None)
    return reason if reason is None or len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"


def _reasons_against(files: GGUFFiles) -> Iterator[str]:
    architecture = ARCHITECTURES.get(files.architecture)
    if architecture is None:
        known = ", ".join(sorted(ARCHITECTURES))
        yield f"GGUF architecture not supported: {files.architecture} (these are: {known})"
        return
    yield from _unsupported_types(files)
    yield from _unsupported_tensors(files, architecture)
    yield from _unsupported_settings(files)
    yield from _unsupported_vocabulary(files)


def hf_name(name: str, architecture: Architecture) -> str | None:
    """Return mlx-lm's name for a tensor of a GGUF file, with its ending (`.weight`, `.bias`, …), or None."""
    stem, _, ending = name.rpartition(".")
    if match := re.fullmatch(r"blk\.(\d+)\.(\w+)", stem):
        inner = architecture.layer.get(match[2])
        return f"model.layers.{match[1]}.{inner}.{ending}" if inner else None
    outer = _ENDS.get(stem)
    return f"{outer}.{ending}" if outer else None


def _unsupported_types(files: GGUFFiles) -> Iterator[str]:
    foreign = Counter(tensor.type for tensor in files.tensors if tensor.type not in TENSOR_TYPES)
    if foreign:
        counts = ", ".join(f"{name} ({count} of {len(files.tensors)} tensors)" for name, count in foreign.most_common())
        yield f"GGUF quantization not supported: {counts}. MLX reads {', '.join(sorted(TENSOR_TYPES))}"


def _unsupported_tensors(files: GGUFFiles, architecture: Architecture) -> Iterator[str]:
    if files.value("expert_count"):
        yield f"a mixture of experts in GGUF is not supported: {files.architecture} with {files.value('expert_count')}"
        return
    if not any(tensor.name == "token_embd.weight" and len(tensor.shape) == 2 for tensor in files.tensors):
        yield f"a {files.architecture} without token_embd.weight is not supported"
    names = (tensor.name for tensor in files.tensors if tensor.name != ROPE_FACTORS)
    strange = [name for name in names if hf_name(name, architecture) is None]
    if strange:
        kinds = sorted({re.sub(r"^blk\.\d+\.", "", name) for name in strange})
        yield f"tensors of {files.architecture} not supported: {', '.join(kinds)}"


def _unsupported_settings(files: GGUFFiles) -> Iterator[str]:
    keys = ("block_count", "embedding_length", "feed_forward_length", "attention.head_count")
    numbers = {key: files.value(key) for key in keys}
    numbers["attention.head_count_kv"] = files.value("attention.head_count_kv", 1)
    strange = [key for key, value in numbers.items() if not _is_size(value)]
    if strange:
        yield f"layers of different sizes are not supported: {', '.join(strange)}"
        return
    strange = [key for key in _SIZES if not _is_size(files.value(key, 1))]
    strange += [key for key in _NUMBERS if not _is_number(files.value(key, 1))]
    pattern = files.value("attention.sliding_window_pattern", 1)
    if strange or not (_is_size(pattern) or isinstance(pattern, list)):
        yield f"settings that must be numbers in range: {', '.join(strange) or 'attention.sliding_window_pattern'}"
        return
    if numbers["block_count"] > len(files.tensors):
        yield f"the header declares {numbers['block_count']} layers but the file has only {len(files.tensors)} tensors"
    heads, of_keys = numbers["attention.head_count"], numbers["attention.head_count_kv"]
    if heads > numbers["embedding_length"] or of_keys > heads:
        yield f"the header declares {heads} attention heads and {of_keys} of keys"
        return
    head = files.value("attention.key_length") or files.value("embedding_length") // files.value("attention.head_count")
    for key in ("attention.value_length", "rope.dimension_count"):
        if files.value(key, head) != head:
            yield f"{key} {files.value(key)} is not supported: the head size is {head}"
    scaling = files.value("rope.scaling.type", "none")
    if scaling not in _ROPE_SCALINGS:
        yield f"rope scaling not supported: {scaling}"


def _is_size(value: object) -> bool:
    return type(value) is int and 1 <= value <= _LARGEST


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and abs(value) <= _LARGEST  # not NaN


def _unsupported_vocabulary(files: GGUFFiles) -> Iterator[str]:
    kind = files.metadata.get("tokenizer.ggml.model")
    tokens = files.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(kind, str) or kind not in VOCABULARIES or not tokens or not isinstance(tokens, Sequence):
        yield f"tokenizer not supported: {kind}"
        return
    rows = next(tensor.shape[1] for tensor in files.tensors if tensor.name == "token_embd.weight")
    if len(tokens) > rows:
        yield f"the header lists {len(tokens):,} tokens but token_embd.weight has {rows:,} rows"
    if kind == "gpt2":
        splitter = files.metadata.get("tokenizer.ggml.pre", "default")
        if not isinstance(splitter, str) or splitter not in SPLITTERS:
            yield f"tokenizer not supported: text splitter `{splitter}`"
