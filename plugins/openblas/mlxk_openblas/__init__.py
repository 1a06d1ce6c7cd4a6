"""OpenBLAS under its standard names, for MLX on a Linux CPU."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def library() -> Path | None:
    """Return the path of the shared library, None if the package was built without one (not on Linux).

    It defines the standard `cblas_*` and LAPACK names. Open it with `ctypes.CDLL(path, RTLD_GLOBAL)` before
    `mlx.core` is imported for the first time: its names are then found before those of the BLAS that MLX bundles.
    """
    try:
        # Next to the installed package, also if its source is elsewhere (hatch_build.py).
        path = Path(str(distribution("mlxk-openblas").locate_file("mlxk_openblas.libs/libmlxk_openblas.so")))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None
