"""OpenBLAS for the Linux CPU: the library is there, answers to the standard names, and MLX computes with it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("mlxk-openblas is for Linux", allow_module_level=True)

mlxk_openblas = pytest.importorskip("mlxk_openblas")


def run(code: str) -> str:
    """What a process of its own prints: a library that was opened globally stays open."""
    program = "import ctypes\nfrom mlxk_openblas import library\n" + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_the_library_and_its_licenses_are_installed():
    library = mlxk_openblas.library()
    assert library is not None
    assert "OpenBLAS" in library.with_name("LICENSE.txt").read_text(encoding="utf-8")


def test_the_library_defines_the_standard_names():
    printed = run(
        """
        blas = ctypes.CDLL(str(library()))
        for name in ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm", "cblas_sgemv", "sgetrf_", "dsyevd_", "LAPACKE_sgesv"):
            print(hasattr(blas, name), hasattr(blas, "scipy_" + name))
        blas.openblas_get_config.restype = ctypes.c_char_p
        print(blas.openblas_get_config().decode())
        """
    )
    assert printed.count("True False") == 7
    assert "OpenBLAS" in printed


def test_mlx_computes_with_it():
    # MLX finds these names in the global scope before its own; what comes out is compared with numpy's own BLAS.
    printed = run(
        """
        blas = ctypes.CDLL(str(library()), ctypes.RTLD_GLOBAL)
        import mlx.core as mx
        import numpy as np
        mx.set_default_device(mx.cpu)
        first = lambda name, scope: ctypes.cast(getattr(scope, name), ctypes.c_void_p).value
        for name in ("cblas_sgemm", "cblas_cgemm", "sgetrf_"):
            print(first(name, ctypes.CDLL(None)) == first(name, blas))
        rng = np.random.default_rng(7)
        a, b = (rng.standard_normal((65, 65)).astype(np.float32) for _ in range(2))
        print(np.allclose(mx.array(a) @ mx.array(b), a @ b, atol=1e-4))
        print(np.allclose(mx.linalg.inv(mx.array(a)) @ mx.array(a), np.eye(65), atol=1e-2))
        """
    )
    assert printed.split() == ["True"] * 5
