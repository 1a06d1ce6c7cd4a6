"""Writes GGUF files out of the kit's tiny models, as llama.cpp's converter does, to be compared with the originals."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlxk_core._models.gguf import TENSOR_TYPES, GGUFHeader, read_gguf_header
from mlxk_testing.tiny_models import random_model

GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
GEMMA_NAMES = GGUF_NAMES | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
TYPE_NUMBERS = {name: number for number, name in TENSOR_TYPES.items()}


@dataclass
class Original:
    """A model in MLX form: what a GGUF file is made of, and what it is compared with."""

    folder: Path
    architecture: str = "llama"
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        return json.loads((self.folder / "config.json").read_text(encoding="utf-8"))

    def configure(self, **changes: Any) -> None:
        (self.folder / "config.json").write_text(json.dumps(self.config | changes), encoding="utf-8")

    def save(self) -> None:
        save_file(self.weights, self.folder / "model.safetensors")

    def logits(self, prompt: list[int]) -> np.ndarray:
        """What mlx-lm computes for the folder."""
        import mlx.core as mx
        from mlx_lm.utils import load_model

        network, _ = load_model(self.folder)
        return np.array(network(mx.array([prompt]))[0].astype(mx.float32))

    def to_gguf(
        self,
        target: Path,
        kind: str = "F32",
        *,
        extra: Mapping[str, Any] | None = None,
        rope_factors: np.ndarray | None = None,
        parts: int = 1,
    ) -> Path:
        """Writes the GGUF file (all of its parts; gives the first). Matrices are stored as `kind`, vectors as F32.

        What `kind` loses is lost in the original's weights too, so that both mean the same network.
        """
        tensors = {}
        for name, array in list(self.weights.items()):
            stored = kind if array.ndim == 2 else "F32"
            _, self.weights[name] = _encode(array, stored)
            data, _ = _encode(self._converted(name, array), stored)
            tensors[self._gguf_name(name)] = (array.shape[::-1], stored, data)
        if rope_factors is not None:
            tensors["rope_freqs.weight"] = (rope_factors.shape, "F32", rope_factors.astype("<f4").tobytes())
        self.save()
        metadata = {**self._metadata(), **(extra or {})}
        if parts == 1:
            return write_gguf(target, metadata, tensors)
        names = list(tensors)
        paths = [target.with_name(f"{target.stem}-{part + 1:05}-of-{parts:05}.gguf") for part in range(parts)]
        for part, path in enumerate(paths):
            split = {"split.no": part, "split.count": parts, "split.tensors.count": len(names)}
            some = {name: tensors[name] for name in names[part::parts]}
            write_gguf(path, {**metadata, **split} if part == 0 else split, some)
        return paths[0]

    def _converted(self, name: str, array: np.ndarray) -> np.ndarray:
        """As llama.cpp wants it: the rows of a rotary pair side by side, norms with the 1 that Gemma adds."""
        if self.architecture.startswith("gemma") and name.endswith("norm.weight"):
            return array + 1
        if self.architecture not in ("llama", "smollm3"):
            return array
        config = self.config
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
        for projection, count in heads.items():
            if projection in name:
                rows, width = array.shape
                return array.reshape(count, 2, rows // count // 2, width).swapaxes(1, 2).reshape(rows, width)
        return array

    def _gguf_name(self, name: str) -> str:
        names = GEMMA_NAMES if self.architecture in ("gemma2", "gemma3") else GGUF_NAMES
        stem, _, ending = name.rpartition(".")
        if stem.startswith("model.layers."):
            _, _, layer, inner = stem.split(".", 3)
            return f"blk.{layer}.{names[inner]}.{ending}"
        return f"{names[stem]}.{ending}"

    def _metadata(self) -> dict[str, Any]:
        config, arch = self.config, self.architecture
        tokenizer = json.loads((self.folder / "tokenizer.json").read_text(encoding="utf-8"))
        settings = json.loads((self.folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        template = self.folder / "chat_template.jinja"
        added = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
        texts = {**{index: text for text, index in tokenizer["model"]["vocab"].items()}, **added}
        ids = {text: index for index, text in texts.items()}
        metadata = {
            "general.architecture": arch,
            "general.name": "tiny",
            f"{arch}.block_count": config["num_hidden_layers"],
            f"{arch}.context_length": config["max_position_embeddings"],
            f"{arch}.embedding_length": config["hidden_size"],
            f"{arch}.feed_forward_length": config["intermediate_size"],
            f"{arch}.attention.head_count": config["num_attention_heads"],
            f"{arch}.attention.head_count_kv": config["num_key_value_heads"],
            f"{arch}.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
            f"{arch}.rope.freq_base": config["rope_theta"],
            f"{arch}.rope.dimension_count": config["head_dim"],
            f"{arch}.attention.key_length": config["head_dim"],
            f"{arch}.attention.value_length": config["head_dim"],
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-2",
            "tokenizer.ggml.tokens": [texts[index] for index in range(len(texts))],
            "tokenizer.ggml.token_type": [3 if index in added else 1 for index in range(len(texts))],
            "tokenizer.ggml.merges": [],
            "tokenizer.ggml.eos_token_id": ids[settings["eos_token"]],
            "tokenizer.ggml.add_bos_token": False,
        }
        text = template.read_text(encoding="utf-8") if template.is_file() else settings.get("chat_template")
        return metadata | ({"tokenizer.chat_template": text} if text else {})


def make_original(folder: Path, architecture: str = "llama", **settings: Any) -> Original:
    """`settings` are what `random_model` takes."""
    model = Original(random_model(folder, **settings), architecture)
    model.weights = load_file(model.folder / "model.safetensors")
    model.configure(model_type=architecture)
    random = np.random.default_rng(5)

    def norm(size: int) -> np.ndarray:
        return random.uniform(0.5, 1.5, size).astype(np.float32)

    for layer in range(model.config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        if architecture in ("qwen3", "gemma3"):
            for letter in "qk":
                model.weights[f"{prefix}self_attn.{letter}_norm.weight"] = norm(model.config["head_dim"])
        if architecture in ("gemma2", "gemma3"):
            for place in ("pre", "post"):
                model.weights[f"{prefix}{place}_feedforward_layernorm.weight"] = norm(model.config["hidden_size"])
        if architecture == "qwen2":
            for letter in "qkv":
                rows = model.weights[f"{prefix}self_attn.{letter}_proj.weight"].shape[0]
                model.weights[f"{prefix}self_attn.{letter}_proj.bias"] = random.normal(size=rows).astype(np.float32)
    if architecture.startswith("gemma"):
        del model.weights["lm_head.weight"]
        model.configure(model_type={"gemma3": "gemma3_text"}.get(architecture, architecture))
    model.save()
    return model


@pytest.fixture
def original(tmp_path: Path) -> Callable[..., Original]:
    """Makes the originals: `original("qwen3", layers=4)`."""
    return partial(make_original, tmp_path / "original")


@pytest.fixture
def header(tmp_path: Path) -> Callable[[Mapping[str, Any]], GGUFHeader]:
    """The header of a file with this metadata and no tensors, as it is read."""
    return lambda metadata: read_gguf_header(write_gguf(tmp_path / "header.gguf", metadata, {}))


@pytest.fixture(scope="module")
def quantized_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama in Q8_0."""
    folder = tmp_path_factory.mktemp("quantized")
    return make_original(folder / "original").to_gguf(folder / "tiny-Q8_0.gguf", "Q8_0")


# --- the format -------------------------------------------------------------------------------------------------------


def write_gguf(path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, tuple[Any, str, bytes]]) -> Path:
    """Version 3: the header, the list of tensors (shape, type, data), and their data at multiples of 32."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(_string(key) + _value(value) for key, value in metadata.items())
    body = b""
    for name, (shape, kind, data) in tensors.items():
        head += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, TYPE_NUMBERS[kind], len(body))
        body += data + bytes(-len(data) % 32)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + bytes(-len(head) % 32) + body)
    return path


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, list):
        kind = {int: 5, float: 6}.get(type(value[0]), 8) if value else 8
        code = {5: "<i", 6: "<f"}.get(kind)
        items = [struct.pack(code, item) if code else _string(item) for item in value]
        return struct.pack("<IIQ", 9, kind, len(value)) + b"".join(items)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    if isinstance(value, np.float64):
        return struct.pack("<Id", 12, value)
    kind, code = (7, "?") if isinstance(value, bool) else (4, "I") if isinstance(value, int) else (6, "f")
    return struct.pack(f"<I{code}", kind, value)


# --- the types of tensors ---------------------------------------------------------------------------------------------


def _encode(array: np.ndarray, kind: str) -> tuple[bytes, np.ndarray]:
    """The bytes of `array` as `kind`, and the values they stand for."""
    if kind == "F32":
        return array.astype("<f4").tobytes(), array
    if kind == "F16":
        return array.astype("<f2").tobytes(), array.astype(np.float16).astype(np.float32)
    if kind == "BF16":
        bits = array.astype("<f4").view("<u4") >> 16
        return bits.astype("<u2").tobytes(), (bits << 16).view(np.float32)
    data, values = _BLOCKS[kind](array.reshape(-1, 256 if kind.endswith("_K") else 32))
    return data.tobytes(), values.reshape(array.shape).astype(np.float32)


def _scale(values: np.ndarray) -> np.ndarray:
    """As it can be stored; never zero, also for a row of zeros."""
    return np.maximum(values, 1e-4).astype("<f2").astype(np.float32)


def _q8_0(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    d = _scale(np.abs(x).max(1, keepdims=True) / 127)
    q = np.clip(np.round(x / d), -127, 127)
    return np.hstack([d.astype("<f2").view("u1"), q.astype("i1").view("u1")]), q * d


def _q4_0(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    d = _scale(np.abs(x).max(1, keepdims=True) / 7)
    q = np.clip(np.round(x / d) + 8, 0, 15).astype("u1")
    return np.hstack([d.astype("<f2").view("u1"), q[:, :16] | q[:, 16:] << 4]), (q - 8.0) * d


def _q4_1(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low = x.min(1, keepdims=True).astype("<f2").astype(np.float32)
    d = _scale((x.max(1, keepdims=True) - low) / 15)
    q = np.clip(np.round((x - low) / d), 0, 15).astype("u1")
    scales = [d.astype("<f2").view("u1"), low.astype("<f2").view("u1")]
    return np.hstack([*scales, q[:, :16] | q[:, 16:] << 4]), q * d + low


def _q4_k(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One scale for all sub-blocks: each one's six bits say 1."""
    low = -x.min(1, keepdims=True).astype("<f2").astype(np.float32)
    d = _scale((x.max(1, keepdims=True) + low) / 15)
    q = np.clip(np.round((x + low) / d), 0, 15).astype("u1")
    halves = q.reshape(-1, 4, 2, 32)
    ones = np.tile(np.array([1] * 8 + [0x11] * 4, "u1"), (len(x), 1))
    packed = (halves[:, :, 0] | halves[:, :, 1] << 4).reshape(len(x), 128)
    return np.hstack([d.astype("<f2").view("u1"), low.astype("<f2").view("u1"), ones, packed]), q * d - low


def _q6_k(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    d = _scale(np.abs(x).max(1, keepdims=True) / 31)
    q = np.clip(np.round(x / d) + 32, 0, 63).astype("u1")
    a, b, c, e = (q.reshape(-1, 2, 4, 32)[:, :, index] for index in range(4))
    low = np.concatenate([a & 15 | (c & 15) << 4, b & 15 | (e & 15) << 4], axis=2).reshape(len(x), 128)
    high = (a >> 4 | b >> 4 << 2 | c >> 4 << 4 | e >> 4 << 6).reshape(len(x), 64)
    ones = np.ones((len(x), 16), "u1")
    return np.hstack([low, high, ones, d.astype("<f2").view("u1")]), (q - 32.0) * d


def _q5_1(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As long as it is in files, and no more: MLX does not read it."""
    return np.zeros((len(x), 24), "u1"), x


_BLOCKS = {"Q5_1": _q5_1, "Q8_0": _q8_0, "Q4_0": _q4_0, "Q4_1": _q4_1, "Q4_K": _q4_k, "Q6_K": _q6_k}
