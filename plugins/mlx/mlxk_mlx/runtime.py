"""MLX in this process: what must happen before and around its first import, and what it computes on."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mlxk_core.generation.engine import EngineContext
from mlxk_mlx import blas

_OPEN_FILES = 4096
_lock = threading.Lock()
_runtime: Runtime | None = None


@dataclass(frozen=True, slots=True)
class Runtime:
    """What MLX computes on. `fast_blas` is the path of the BLAS put in place, None without one."""

    cpu: bool
    fast_blas: str | None


def start() -> Runtime:
    """Imports MLX and mlx-lm, once, from any thread. Call it before anything else of either."""
    global _runtime
    with _lock:
        if _runtime is None:
            fast_blas = blas.load()
            _quiet_transformers()
            import mlx.core as mx

            with _limits_left_alone():
                import mlx_lm.generate  # noqa: F401
            _allow_open_files()
            cpu = mx.default_device().type == mx.DeviceType.cpu
            _runtime = Runtime(cpu=cpu, fast_blas=fast_blas if cpu else None)
        return _runtime


def start_on_engine_thread(context: EngineContext) -> Runtime:
    """The same, by a backend that begins a load. However the load ends, MLX has been used on this thread."""
    runtime = start()
    import mlx.core as mx

    # Without it the thread's end aborts the process: MLX's compile cache outlives the interpreter's state.
    context.at_thread_exit(mx.clear_streams)
    return runtime


def _quiet_transformers() -> None:
    """Standard error is the user's: transformers must not tell there that PyTorch is missing."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def free_memory() -> None:
    """Gives back what is no longer referred to: MLX's buffers, and on Linux the heap's free pages."""
    import mlx.core as mx

    gc.collect()
    mx.clear_cache()
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (OSError, AttributeError):
            pass  # a libc without malloc_trim


@contextmanager
def _limits_left_alone() -> Iterator[None]:
    """Importing mlx_lm sets RLIMIT_NOFILE to (2048, 4096): it lowers a hard limit for good, and fails below it."""
    setrlimit = resource.setrlimit
    resource.setrlimit = lambda *_: None
    try:
        yield
    finally:
        resource.setrlimit = setrlimit


def _allow_open_files() -> None:
    """What mlx_lm is after: models of many files, on systems whose soft limit is 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
