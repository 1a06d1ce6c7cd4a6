"""How fast MLX multiplies matrices on this CPU: with the BLAS it bundles, and with OpenBLAS.

    uv run python benchmarks/blas.py

Each case is a process of its own, because a library takes precedence only if it is opened before MLX.
"""

from __future__ import annotations

import json
import subprocess
import sys

SIZES = ((16, 576, 1536), (512, 512, 512))
CASE = """
import ctypes, json, sys, time
library, sizes = json.loads(sys.argv[1])
if library:
    ctypes.CDLL(library, ctypes.RTLD_GLOBAL).openblas_set_num_threads(1)
import mlx.core as mx
mx.set_default_device(mx.cpu)
rates = []
for m, k, n in sizes:
    a, b = mx.random.normal((m, k)), mx.random.normal((k, n))
    mx.eval(a, b, a @ b)
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        mx.eval(a @ b)
        best = min(best, time.perf_counter() - begin)
    rates.append(2 * m * k * n / best / 1e9)
print(json.dumps(rates))
"""


def measure(library: str | None) -> list[float]:
    """GFLOP/s for each of `SIZES`, in float32."""
    command = [sys.executable, "-c", CASE, json.dumps([library, SIZES])]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    from mlxk_openblas import library

    cases = {"bundled": None, "OpenBLAS": library()}
    print(f"{'GFLOP/s':10}" + "".join(f"{'x'.join(map(str, size)):>16}" for size in SIZES))
    for name, path in cases.items():
        if name != "bundled" and path is None:
            print(f"{name:10}  mlxk-openblas is not installed, or has no library for this system")
            continue
        print(f"{name:10}" + "".join(f"{rate:16.1f}" for rate in measure(str(path) if path else None)))


if __name__ == "__main__":
    main()
