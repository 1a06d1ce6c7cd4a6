"""Models made up for the check of plugins."""

from __future__ import annotations

import json
from pathlib import Path

from mlxk_core._models.model import Model


def safetensors_model(folder: Path) -> Model:
    """Return a model with every file that functions of descriptions usually read."""
    folder.mkdir()
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 128}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text('{"added_tokens": [], "model": {"vocab": {}}}')
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    header = b'{"model.embed_tokens.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return Model(name="mlxk-check/safetensors", path=folder)


def empty_model(folder: Path) -> Model:
    """Return a model without files."""
    folder.mkdir()
    return Model(name="mlxk-check/empty", path=folder)
