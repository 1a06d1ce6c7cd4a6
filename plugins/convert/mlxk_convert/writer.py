"""The files of a converted model: shards, index, config, and what is copied from the source."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import mlx.core as mx
from huggingface_hub import ModelCard, ModelCardData
from mlx_lm.utils import make_shards, save_config

from mlxk_convert.network import Converted
from mlxk_core.api.errors import BrokenModel, MlxkError
from mlxk_core.api.models import File, Model, leads_outside, open_file, regular_file, weight_format

_LARGEST_CARD = 1 << 19  # bytes; the metadata of a card is at its beginning
_BATCH = 1 << 25  # bytes that are computed between two reports
_WRITTEN = {"config.json", "README.md", "hf_quant_config.json", "model.safetensors.index.json"}
# Code, and pickles, which can contain code.
_LEFT_OUT = {".py", ".bin", ".pt", ".pth", ".pkl", ".ckpt"}


def copied_files(model: Model) -> list[File]:
    """Return the files that a converted model takes from its source: tokenizer, templates, licence.

    Raises `BrokenModel` if one of them is a link to something else.
    """
    files = [
        file
        for file in model.files
        if file.name not in _WRITTEN
        and weight_format(file.name) is None
        and not file.name.endswith(".index.json")
        and PurePosixPath(file.name).suffix not in _LEFT_OUT
    ]
    for file in files:
        if leads_outside(model.path / file.name, model.path):
            raise BrokenModel(
                f"`{model.name}` cannot be converted: `{file.name}` is a link to a hidden file or to one outside of "
                "the folder. Replace it by the file, or delete it.",
                model=model.name,
            )
    return files


def write(folder: Path, model: Model, converted: Converted, done: Callable[[int], None]) -> None:
    """Write a model to `folder`. `done` is called with the bytes of weights that were added.

    The weights are computed shard by shard; `converted.weights` is empty afterwards.
    """
    for file in copied_files(model):
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(regular_file(model.path / file.name), target)
    save_config(converted.config, config_path=folder / "config.json", keep_vision_config=converted.has_vision_tower)
    _write_card(folder, model)
    _write_weights(folder, converted, done)


def _write_weights(folder: Path, converted: Converted, done: Callable[[int], None]) -> None:
    total = converted.size
    shards = make_shards(converted.weights)
    converted.weights.clear()
    index: dict[str, str] = {}
    count = len(shards)
    for number in range(1, count + 1):
        shard = shards.pop(0)  # computed weights are freed when their shard is written
        name = f"model-{number:05d}-of-{count:05d}.safetensors" if count > 1 else "model.safetensors"
        batch: list[mx.array] = []
        for array in shard.values():
            batch.append(array)
            if sum(each.nbytes for each in batch) >= _BATCH:
                _compute(batch, done)
        _compute(batch, done)
        try:
            mx.save_safetensors(str(folder / name), shard, metadata={"format": "mlx"})
        except RuntimeError as error:
            raise MlxkError(
                f"Cannot write {name}: {str(error).rstrip('.')}. The disk may be full.",
                reason="not_writable",
                file=name,
            ) from error
        index |= dict.fromkeys(shard, name)
        del shard
        mx.clear_cache()
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}, indent=2),
        encoding="utf-8",
    )


def _compute(batch: list[mx.array], done: Callable[[int], None]) -> None:
    mx.eval(batch)
    done(sum(array.nbytes for array in batch))
    batch.clear()


def _write_card(folder: Path, model: Model) -> None:
    """Write README.md: the metadata of the source, with the library and the model it was made from."""
    try:
        with open_file(model.path / "README.md") as file:
            card = file.read(_LARGEST_CARD).decode("utf-8", "replace")
        metadata = _metadata(model, ModelCard(card, ignore_metadata_errors=True).data)
    except Exception:  # no card, or invalid metadata: neither fails a conversion
        metadata = _metadata(model, ModelCardData())
    text = f"---\n{metadata}\n---\n\nConverted from {model.name} with mlxk.\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def _metadata(model: Model, data: ModelCardData) -> str:
    data.library_name = "mlx"
    data.tags = [*dict.fromkeys([*(data.tags or []), "mlx"])]
    if model.origin == "hub":
        data.base_model = model.name
    text: str = data.to_yaml()
    return text
