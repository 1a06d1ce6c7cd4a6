"""The files of a model for checks: names, first bytes, JSON values and declared sizes, each read once."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mlxk_core._errors import BrokenModel
from mlxk_core._models import gguf, safetensors
from mlxk_core._models.bounded_json import LONGEST_NAME, parse_json
from mlxk_core._models.cached import cached_property
from mlxk_core._models.files import CutOff, open_file, read_error, read_small_file, weight_format
from mlxk_core._models.header_budget import HeaderBudget
from mlxk_core._models.model import File, Model
from mlxk_core._models.variants import is_companion

_LARGEST_JSON = 32 << 20  # bytes
_INVALID = "is not valid JSON with a weight_map"
_TOO_LARGE = f"is too large: the indexes of a model may have {_LARGEST_JSON >> 20} MiB together"
_MOST_SHARDS = 10_000
"""Files that an index names: no folder may have more."""


class Manifest:
    """The files of a model, with facts that several checks use."""

    def __init__(self, model: Model, left_out: Callable[[str], bool]) -> None:
        self.model = model
        self.folder = model.path if model.path.is_dir() else model.path.parent
        self.files = tuple(file for file in self._of_variant(model) if not left_out(file.name))
        self._other_headers = HeaderBudget()

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(file.name for file in self.files)

    @cached_property
    def weights(self) -> tuple[File, ...]:
        """The files with weights, without companions such as an image encoder."""
        return tuple(file for file in self.files if weight_format(file.name) and not is_companion(file.name))

    @cached_property
    def only_gguf(self) -> bool:
        """Whether all weights are GGUF files, which contain config and tokenizer."""
        return bool(self.weights) and all(weight_format(file.name) == "gguf" for file in self.weights)

    @cached_property
    def indexes(self) -> Mapping[str, tuple[str, ...] | str]:
        """The files that each index file names, by its own name; a text that says why it cannot be read."""
        found: dict[str, tuple[str, ...] | str] = {}
        left = _LARGEST_JSON  # for all of them
        for file in self.files:
            if file.name.endswith((".safetensors.index.json", ".bin.index.json")):
                left -= file.size
                found[file.name] = self._shards(file.name) if left >= 0 else _TOO_LARGE
        return found

    def _shards(self, index: str) -> tuple[str, ...] | str:
        value = self.json(index)
        weight_map = value.get("weight_map") if isinstance(value, dict) else None
        if not isinstance(weight_map, dict):
            return _INVALID
        named: set[str] = set()
        for shard in weight_map.values():
            if not isinstance(shard, str):
                return _INVALID
            if len(shard) > LONGEST_NAME:  # a path of megabytes would be split into millions of parts
                return f"names a file by over {LONGEST_NAME:,} characters"
            if len(named) > _MOST_SHARDS:
                return f"names over {_MOST_SHARDS:,} files"
            named.add(shard)
        folder = PurePosixPath(index).parent
        return tuple(sorted((folder / shard).as_posix() for shard in named))

    def path(self, name: str) -> Path:
        return self.folder / name

    def head(self, name: str, length: int) -> bytes:
        try:
            with open_file(self.path(name)) as file:
                return file.read(length)
        except OSError:
            return b""

    def json(self, name: str) -> Any:
        """Return the value of a JSON file, None if it cannot be read."""
        try:
            return parse_json(read_small_file(self.path(name), _LARGEST_JSON))
        except (OSError, ValueError):
            return None

    def expected_size(self, name: str) -> int:
        """Return the minimum size of a weight file in bytes, by its header. Raises `BrokenModel`."""
        match weight_format(name):
            case "safetensors":
                return (self.model.weights.headers.get(name) or self._other_header(name)).length
            case "gguf":
                path = self.path(name)
                header_of_model = self.model.gguf if path == self.model.gguf_path else None
                return (header_of_model or gguf.read_gguf_header(path)).file_size
        return _archive_size(self.path(name))

    def _other_header(self, name: str) -> safetensors.SafetensorsHeader:
        """Return the header of a file whose tensors are not those of the model, or that could not be read before."""
        if self.model.weights.too_many:
            raise BrokenModel(f"{name} was not read: {' '.join(self.model.weights.unreadable.values())}", file=name)
        self._other_headers.check()
        header = safetensors.read_safetensors_header(self.path(name))
        self._other_headers.add(header)
        return header

    @staticmethod
    def _of_variant(model: Model) -> tuple[File, ...]:
        chosen = model.gguf_variant
        if model.variant is None or chosen is None:
            return model.files
        return tuple(file for file in model.files if not weight_format(file.name) or file.name in chosen.files)


def _archive_size(path: Path) -> int:
    """Return 0, since a zip archive (PyTorch, NumPy) declares no size. Raises `BrokenModel` if its end is cut off."""
    try:
        with open_file(path) as file:
            cut_off = file.read(4) == b"PK\x03\x04" and not zipfile.is_zipfile(file)
    except OSError as error:
        raise BrokenModel(f"{path.name} cannot be read: {read_error(error)}", file=path.name) from error
    if cut_off:
        raise BrokenModel(f"{path.name} is cut off: its list of contents is missing", file=path.name) from CutOff()
    return 0
