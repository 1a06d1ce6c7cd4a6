"""A fast BLAS for MLX on a Linux CPU, put in place before MLX is imported."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_SYSTEM = "libopenblas.so.0"
_THREADS = "OPENBLAS_NUM_THREADS"


def load() -> str | None:
    """Opens OpenBLAS, so that MLX uses it, and gives its path; None where there is none or it is not for this system.

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
    """One thread is the fastest here: MLX feeds it from a thread of its own, and two cores have no more to give."""
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = before or "1"
    try:
        library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        _ = library.cblas_sgemm  # another interface under the same file name would be of no use
    except AttributeError as error:
        raise OSError(f"{path} does not define cblas_sgemm") from error
    finally:
        if before is None:
            del os.environ[_THREADS]
