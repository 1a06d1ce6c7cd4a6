"""A fast BLAS for MLX on a Linux CPU, loaded before MLX is imported."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SYSTEM = "libopenblas.so.0"
_THREADS = "OPENBLAS_NUM_THREADS"


def load() -> str | None:
    """Open OpenBLAS, so that MLX uses it, and return its path; None without one or on another system.

    MLX's Linux wheel links the reference BLAS (1-2 GFLOP/s where OpenBLAS has 90). A library that is opened globally
    before `mlx.core` is imported for the first time is searched before the bundled one.
    """
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return None
    for library in filter(None, (_ours(), _SYSTEM)):
        try:
            _open(str(library))
        except OSError:
            continue
        return str(library)
    return None


def _ours() -> Path | None:
    try:
        import mlxk_openblas
    except ImportError:
        return None
    return mlxk_openblas.library()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let every OpenBLAS that is loaded in the `with` block, also that of numpy, start no threads of its own.

    One is the fastest for MLX's small matrices on few cores. And where the system has no thread left for it, OpenBLAS
    sends the process SIGINT, which a server takes for Ctrl-C.
    """
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = before or "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREADS]


def _open(path: str) -> None:
    try:
        with one_thread():
            library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        _ = library.cblas_sgemm  # a library of that name may have another interface
    except AttributeError as error:
        raise OSError(f"{path} does not define cblas_sgemm") from error
