"""The files of a GGUF model: its shards with their headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlxk_core.api import GGUFHeader, GGUFTensor, Model
from mlxk_core.api.errors import BrokenModel
from mlxk_core.api.models import parse_shard, read_gguf_header

_MOST_PARTS = 99_999  # five digits in a name
_MOST_TENSORS = 1 << 14
_MOST_HEADERS = 64 << 20  # bytes, of all shards but the first; they usually have no vocabulary
_MOST_NAMES = 20  # of missing shards in an error


@dataclass(frozen=True)
class Part:
    """A GGUF file: a whole model, or one of its shards."""

    path: Path
    header: GGUFHeader

    @property
    def missing_bytes(self) -> int:
        """Bytes that the header promises and the file does not have."""
        return max(0, self.header.file_size - self.path.stat().st_size)


@dataclass(frozen=True)
class GGUFFiles:
    """A GGUF model on disk. The metadata is that of the first shard; any shard can hold tensors."""

    parts: tuple[Part, ...]

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.parts[0].header.metadata

    @property
    def architecture(self) -> str:
        return self.parts[0].header.architecture or "unknown"

    @property
    def tensors(self) -> tuple[GGUFTensor, ...]:
        return tuple(tensor for part in self.parts for tensor in part.header.tensors)

    def value(self, key: str, default: Any = None) -> Any:
        """Return a value of the architecture: `value("block_count")` is `llama.block_count`."""
        return self.metadata.get(f"{self.architecture}.{key}", default)


def open_files(model: Model) -> GGUFFiles:
    """Return the files of `model`, which has a `gguf_path`. Raises `BrokenModel` if shards are missing or damaged."""
    first, header = model.gguf_path, model.gguf
    if first is None or header is None:
        raise ValueError(f"no GGUF file chosen for {model.name}")
    whole, number, total = parse_shard(first.name)
    count = header.metadata.get("split.count")
    if isinstance(count, int) and count <= _MOST_PARTS:  # a larger number is damage: file names have no room for it
        total = max(total, count)
    if total == 1:
        return GGUFFiles((Part(first, header),))
    if number != 1 or not re.search(r"-\d{5}-of-\d{5}$", first.stem):
        raise BrokenModel(f"{first.name} is not the first of {total} shards. Use the first one.", file=first.name)
    names = [f"{whole}-{index:05}-of-{total:05}{first.suffix}" for index in range(1, total + 1)]
    folder = first.parent.relative_to(model.path) if model.path.is_dir() else Path()
    present = {file.name for file in model.files}  # a header may declare 99,999 shards
    missing = [name for name in names if str(folder / name) not in present or not first.with_name(name).is_file()]
    if missing:
        raise BrokenModel(
            f"{len(missing)} of {total} shards of {first.name} are missing: "
            f"{', '.join(missing[:_MOST_NAMES])}{' …' if len(missing) > _MOST_NAMES else ''}.",
            model=model.name,
            missing=missing[:_MOST_NAMES],
        )
    parts = [Part(first, header)]
    tensors = size = 0
    for path in map(first.with_name, names[1:]):
        shard = read_gguf_header(path)
        parts.append(Part(path, replace(shard, metadata={})))
        tensors += len(shard.tensors)
        size += shard.data_offset
        if tensors > _MOST_TENSORS or size > _MOST_HEADERS:
            raise BrokenModel(
                f"The shards of {first.name} have over {_MOST_TENSORS:,} tensors, or headers of {_MOST_HEADERS >> 20} "
                "MiB together.",
                model=model.name,
            )
    return GGUFFiles(tuple(parts))
