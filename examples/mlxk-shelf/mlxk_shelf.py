"""A source of models: every folder of the directory that `MLXK_SHELF` names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from shutil import copyfile

from mlxk_core.api import Model, ModelSourceSpec, hookimpl
from mlxk_core.api.errors import ModelNotFound

__version__ = "0.1.0"


# --8<-- [start:describe]
@hookimpl
def mlxk_model_sources() -> Iterable[ModelSourceSpec]:
    yield ModelSourceSpec(name="shelf", summary="The models in $MLXK_SHELF.", target="mlxk_shelf:Shelf")


# --8<-- [end:describe]


# --8<-- [start:source]
class Shelf:
    """Made once in a run. It may read the disk, and it must not use the network."""

    def __init__(self) -> None:
        folder = os.environ.get("MLXK_SHELF", "")
        self._folder = Path(folder) if folder else None

    def names(self) -> list[str]:
        if self._folder is None or not self._folder.is_dir():
            return []
        names = {path.name.removesuffix(".todo") for path in self._folder.iterdir() if path.name[0] != "."}
        return sorted(names)

    def find(self, name: str, /) -> Model | None:
        if name not in self.names() or self._folder is None:
            return None
        path = self._folder / name
        if not path.is_dir():  # only `NAME.todo` is there: the name is known and its files are not
            raise ModelNotFound(name, hint=f"It was not copied yet: mlxk pull shelf:{name}")
        return Model(name=name, path=path, origin="source", source="shelf")

    # --8<-- [start:fetch]
    def fetch(self, name: str, report: Callable[[int], None], /) -> Model:
        """Copy the folder that `NAME.todo` names. `mlxk pull shelf:NAME` calls it."""
        if name not in self.names() or self._folder is None:
            raise ModelNotFound(name)
        target = self._folder / name
        if not target.is_dir():
            origin = Path((self._folder / f"{name}.todo").read_text(encoding="utf-8").strip())
            part, done = target.with_name(f".{name}"), 0
            part.mkdir(exist_ok=True)
            for path in sorted(origin.iterdir()):
                copyfile(path, part / path.name)
                report(done := done + path.stat().st_size)
            part.rename(target)  # whole or not at all
        return Model(name=name, path=target, origin="source", source="shelf")

    # --8<-- [end:fetch]


# --8<-- [end:source]
