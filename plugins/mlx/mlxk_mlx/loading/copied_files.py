"""Copies of small files for libraries that read them by path, whatever lies in a model's folder by then."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mlxk_core.api.errors import SystemLimit


@contextmanager
def copied_files(files: Mapping[str, bytes]) -> Iterator[Path]:
    """Write `files`, by name, to a folder of their own, which is removed at the end. Raises `SystemLimit`."""
    with ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlxk-")))
            for name, data in files.items():
                (folder / name).write_bytes(data)
        except OSError as error:
            raise SystemLimit(f"Temporary files cannot be written: {error}") from error
        yield folder
