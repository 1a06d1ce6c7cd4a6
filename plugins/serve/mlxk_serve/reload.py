"""`--reload`: detect changed code of mlxk or a plugin and restart the process."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import NoReturn

from mlxk_serve.observability.log import LOGGER

_EVERY = 1.0
_LARGEST_SOURCE = 1 << 20


class Sources:
    """The Python files of the core and of all installed plugins, as they were at the start."""

    def __init__(self) -> None:
        self._folders = _folders()
        self._before = self._stamps()
        self._asked = time.monotonic()

    def changed(self) -> bool:
        """Return whether a file has changed and compiles: half-typed code must not end the server."""
        now = time.monotonic()
        if now - self._asked < _EVERY:
            return False
        self._asked = now
        after = self._stamps()
        different = [path for path, stamp in after.items() if self._before.get(path) != stamp]
        if after == self._before:
            return False
        for path in different:
            try:
                if path.stat().st_size <= _LARGEST_SOURCE:  # the interpreter is locked meanwhile
                    compile(path.read_bytes(), str(path), "exec")
            except Exception as error:  # also a RecursionError or a MemoryError: code may be nested too deeply
                LOGGER.warning("not restarting: %s cannot be compiled: %s", path.name, error)
                self._before = after
                return False
        return True

    def _stamps(self) -> dict[Path, tuple[int, int]]:
        stamps = {}
        for folder in self._folders:
            for path in _python_files(folder):
                try:
                    status = path.stat()
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode):  # opening a pipe would block
                    stamps[path] = (status.st_mtime_ns, status.st_size)
        return stamps


def _python_files(place: Path) -> Iterator[Path]:
    """Yield the Python files in a folder, or the file itself. Folders may come and go meanwhile."""
    if not place.is_dir():
        yield place
    for folder, _, names in os.walk(place):
        yield from (Path(folder, name) for name in names if name.endswith(".py"))


def _folders() -> list[Path]:
    modules = {"mlxk_core"}
    modules |= {point.value.partition(":")[0].partition(".")[0] for point in entry_points(group="mlxk")}
    return sorted(set(_places(modules)))


def _places(modules: Iterable[str]) -> Iterable[Path]:
    for module in modules:
        spec = importlib.util.find_spec(module)
        if spec is None:
            continue
        if spec.submodule_search_locations:
            yield from map(Path, spec.submodule_search_locations)
        elif spec.origin:
            yield Path(spec.origin)


def restart_process() -> NoReturn:
    """Run this process again from its beginning, under the same process id."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
