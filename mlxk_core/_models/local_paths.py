"""Models at a path that the user typed."""

from __future__ import annotations

from pathlib import Path

from mlxk_core._errors import BrokenModel, ModelNotFound
from mlxk_core._models.files import weight_format
from mlxk_core._models.model import Model
from mlxk_core._paths import is_file, is_folder


def model_at(text: str, path: Path) -> Model:
    """Return the model at `path`, which was typed as `text`. Raises `ModelNotFound` or `BrokenModel`."""
    path = path.absolute()
    if is_folder(path):
        if not _holds_model(path):
            raise ModelNotFound(text, hint="The folder has no config.json and no weights.")
        return Model(name=path.resolve().name, path=path)
    if is_file(path):
        if path.suffix.lower() == ".gguf":
            return Model(name=path.name, path=path)
        raise ModelNotFound(text, hint="It is neither a folder nor a .gguf file.")
    raise ModelNotFound(text, hint="No such file or folder.")


def _holds_model(folder: Path) -> bool:
    """Search the top and one level below only: the folder may be a home directory."""
    try:
        names = [path.name for path in folder.iterdir()]
    except PermissionError as error:
        raise BrokenModel(f"Permission denied: cannot read {folder}.", path=str(folder)) from error
    if "config.json" in names or any(weight_format(name) for name in names):
        return True
    return next(folder.glob("*/*.gguf"), None) is not None


def is_model_folder(text: str) -> bool:
    """Return whether a folder of that name has a model."""
    try:
        return is_folder(text) and _holds_model(Path(text))
    except BrokenModel:
        return True
