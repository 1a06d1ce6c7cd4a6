"""Copies of small files for libraries that read them by path, whatever lies in a model's folder by then."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def copied_files(files: Mapping[str, bytes]) -> Iterator[Path]:
    """Write `files`, by name, to a folder of their own, which is removed at the end. Raises `OSError`."""
    with tempfile.TemporaryDirectory(prefix="mlxk-") as name:
        folder = Path(name)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        yield folder
