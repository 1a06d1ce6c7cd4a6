"""Model folders: config, tokenizer and weight files."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, processors

from mlxk_testing.tiny_models.tokenizers import token_id
from mlxk_testing.tiny_models.weights import Dtype, Weights


def write_model(
    folder: Path,
    config: dict[str, Any],
    weights: Weights,
    tokenizer: Tokenizer,
    chat_template: str | None,
    eos: Sequence[str],
    bos: str | None,
    dtype: Dtype,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    ids = [token_id(tokenizer, text) for text in eos]
    if bos:
        template = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, token_id(tokenizer, bos))]
        )
        tokenizer.post_processor = template
        config["bos_token_id"] = token_id(tokenizer, bos)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "eos_token": eos[0],
        "model_max_length": config["max_position_embeddings"],
    }
    if bos:
        settings["bos_token"] = bos
    if chat_template is not None:
        settings["chat_template"] = chat_template
    _dump(folder / "tokenizer_config.json", settings)
    eos_ids: int | list[int] = ids[0] if len(ids) == 1 else ids
    _dump(folder / "config.json", {**config, "eos_token_id": eos_ids})
    _dump(folder / "generation_config.json", {"eos_token_id": eos_ids})
    _save_safetensors(folder / "model.safetensors", weights, dtype)
    return folder


def _save_safetensors(path: Path, weights: Weights, dtype: Dtype) -> None:
    """Write a safetensors file without its library, to which numpy could not pass bfloat16."""
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    chunks, offset = [], 0
    for name in sorted(weights):
        kind, data = _encode(weights[name], dtype)
        header[name] = {
            "dtype": kind,
            "shape": list(weights[name].shape),
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def _encode(array: NDArray[Any], dtype: Dtype) -> tuple[str, bytes]:
    if array.dtype == np.uint32:
        return "U32", array.tobytes()
    if array.dtype == np.uint8:
        return "U8", array.tobytes()
    if dtype == "float16":
        return "F16", array.astype(np.float16).tobytes()
    if dtype == "bfloat16":
        return "BF16", (array.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return "F32", array.astype(np.float32).tobytes()


def listed(text: str | Sequence[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def _dump(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def edit_json(path: Path, **changes: Any) -> None:
    _dump(path, {**json.loads(path.read_text(encoding="utf-8")), **changes})
