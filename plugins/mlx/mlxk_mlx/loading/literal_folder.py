"""The folder of a model for libraries that search it with patterns."""

from __future__ import annotations

import glob
from pathlib import Path


class LiteralFolder(type(Path())):  # type: ignore[misc]  # Path itself cannot be subclassed in Python 3.11
    """A folder whose own name is no part of a pattern: mlx-lm gives `str(folder / "model*.safetensors")` to `glob`, and
    in `model[ab]` it would find the files of `modela`, which nothing has checked."""

    def __truediv__(self, name: str) -> Path:
        folder = str(self)
        return Path(glob.escape(folder) if glob.has_magic(name) else folder, name)
