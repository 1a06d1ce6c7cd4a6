"""The files that sentence-transformers adds to a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from mlxk_core._errors import BrokenModel
from mlxk_core._models.bounded_json import parse_json
from mlxk_core._models.files import read_error, read_small_file
from mlxk_core._models.model import Model

_LARGEST = 1 << 20  # bytes


def module_folders(model: Model) -> Mapping[str, str]:
    """Return the modules of `modules.json` by the last part of their type, with their folders; empty without the file.

    Raises `BrokenModel` for a damaged file, or one that names a folder outside the model.
    """
    listed = _read(model, "modules.json")
    if listed is None:
        return {}
    if not isinstance(listed, list) or not all(isinstance(module, dict) for module in listed):
        raise BrokenModel(f"modules.json of `{model.name}` is not a list of modules.", model=model.name)
    modules: dict[str, str] = {}
    for module in listed:
        folder = str(module.get("path", ""))
        if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
            raise BrokenModel(f"modules.json of `{model.name}` names a folder outside the model.", model=model.name)
        modules[str(module.get("type", "")).rpartition(".")[2]] = folder
    return modules


def read_json(model: Model, name: str) -> Mapping[str, Any]:
    """Return the object in a small JSON file of `model`; empty without the file. Raises `BrokenModel`."""
    value = _read(model, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BrokenModel(f"{name} of `{model.name}` is not a JSON object.", model=model.name)
    return value


def _read(model: Model, name: str) -> Any:
    path = model.path / name
    try:
        if not path.is_file():
            return None
        return parse_json(read_small_file(path, _LARGEST))
    except (OSError, ValueError) as error:
        raise BrokenModel(f"{name} of `{model.name}` cannot be read: {read_error(error)}", model=model.name) from None
