"""MLX in this process: what must happen before and around its first import, and what it computes on."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mlxk_core.api.backends import EngineContext
from mlxk_mlx.loading import blas

_OPEN_FILES = 4096
_LOGGER = logging.getLogger("mlxk.mlx")
_lock = threading.Lock()
_machine: Runtime | None = None
_started = False


@dataclass(frozen=True, slots=True)
class Runtime:
    """What MLX computes on. `fast_blas` is the path of the BLAS put in place, None without one."""

    cpu: bool
    fast_blas: str | None


def machine() -> Runtime:
    """What there is to compute on. Imports MLX alone, which is a small part of what `start` takes."""
    with _lock:
        return _look()


def start() -> Runtime:
    """Imports MLX and mlx-lm, once, from any thread. Call it before anything else of either."""
    global _started
    with _lock:
        found = _look()
        if not _started:
            _quiet_transformers()
            with _limits_left_alone():
                import mlx_lm.generate  # noqa: F401
            _allow_open_files()
            _started = True
        return found


def _look() -> Runtime:
    global _machine
    if _machine is None:
        fast_blas = blas.load()  # before the first import of MLX, or it is in vain
        import mlx.core as mx

        cpu = mx.default_device().type == mx.DeviceType.cpu
        _machine = Runtime(cpu=cpu, fast_blas=fast_blas if cpu else None)
        if sys.platform == "linux" and cpu and not fast_blas:
            _LOGGER.info("MLX is several times slower here than with OpenBLAS: pip install mlxk-openblas")
    return _machine


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
