"""Where OpenBLAS lies, under its standard names, for MLX on a Linux CPU."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def library() -> Path | None:
    """The shared library, or None where the package was built without one (it is for Linux only).

    It defines the standard `cblas_*` and LAPACK names. Open it with `ctypes.CDLL(path, RTLD_GLOBAL)` before
    `mlx.core` is imported for the first time: its names are then found before those of the BLAS that MLX bundles.
    """
    try:
        # Beside the package where the package was installed, also when its source lies elsewhere (hatch_build.py).
        path = Path(str(distribution("mlxk-openblas").locate_file("mlxk_openblas.libs/libmlxk_openblas.so")))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None
