"""A fast BLAS for MLX on a Linux CPU, loaded before MLX is imported."""

from __future__ import annotations

import ctypes
import os
import sys
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


def _open(path: str) -> None:
    """Open the library with one BLAS thread, which is the fastest for MLX's small matrices on few cores."""
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = before or "1"
    try:
        library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        _ = library.cblas_sgemm  # a library of that name may have another interface
    except AttributeError as error:
        raise OSError(f"{path} does not define cblas_sgemm") from error
    finally:
        if before is None:
            del os.environ[_THREADS]
