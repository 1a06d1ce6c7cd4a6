"""MLX in this process: its first import, and the device it computes on."""

from __future__ import annotations

import gc
import logging
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlxk_core.api.backends import EngineContext, trim_heap
from mlxk_core.api.errors import raise_system_limit
from mlxk_mlx.loading import blas
from mlxk_mlx.loading.bounded_indices import bound_indices
from mlxk_mlx.loading.divisors import check_divisors

_OPEN_FILES = 4096
_MLX_THREADS = 8
"""More than MLX starts for a load on a CPU: four that read files, and one for each stream."""
_LOGGER = logging.getLogger("mlxk.mlx")
_lock = threading.Lock()
_machine: Runtime | None = None
_started = False


@dataclass(frozen=True, slots=True)
class Runtime:
    """The device of MLX. `fast_blas` is the path of the BLAS library that replaces MLX's own, None without one."""

    cpu: bool
    fast_blas: str | None


def machine() -> Runtime:
    """Return the device. Imports `mlx.core` only, which takes 30 ms; `start` takes a second."""
    with _lock:
        return _look()


def start() -> Runtime:
    """Import MLX and mlx-lm, once, from any thread. Call it before using either."""
    global _started
    with _lock:
        found = _look()
        if not _started:
            _quiet_transformers()
            _leave_deleted_folder()
            with _keep_limits(), blas.one_thread():
                import mlx_lm.generate  # noqa: F401
            check_divisors()
            if found.cpu:  # a GPU reads other memory of this process, and goes on
                bound_indices()
            _allow_open_files()
            gc.freeze()  # the modules: each collection after an unload would look at them, with the interpreter locked
            _started = True
        return found


def _leave_deleted_folder() -> None:
    """Change to the root folder if the working folder was deleted: transformers asks for it when it is imported."""
    try:
        Path.cwd()
    except OSError:
        os.chdir("/")


def _look() -> Runtime:
    global _machine
    if _machine is None:
        fast_blas = blas.load()  # has no effect after the first import of MLX
        import mlx.core as mx

        cpu = mx.default_device().type == mx.DeviceType.cpu
        if cpu:
            # MLX would run g++ for seconds with the interpreter locked, and load libraries from the temporary folder.
            mx.disable_compile()
        _machine = Runtime(cpu=cpu, fast_blas=fast_blas if cpu else None)
        if sys.platform == "linux" and cpu and not fast_blas:
            _LOGGER.info("MLX is several times faster with OpenBLAS. Install mlxk-openblas.")
    return _machine


def start_on_engine_thread(context: EngineContext) -> Runtime:
    """Import MLX and mlx-lm at the start of a load, on the engine thread. Raises `SystemLimit` without free threads."""
    runtime = start()
    _check_threads()
    import mlx.core as mx

    # Also for a load that fails: else the end of the thread aborts the process (ml-explore/mlx#4327).
    context.at_thread_exit(mx.clear_streams)
    return runtime


def _check_threads() -> None:
    """Raise `SystemLimit` unless threads can be started: MLX hangs or ends the process if it cannot start its own."""
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(_MLX_THREADS)]
    started = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise_system_limit(error)
        raise
    finally:
        over.set()
        for thread in started:
            thread.join()


def _quiet_transformers() -> None:
    """Keep transformers from printing on standard error that PyTorch is missing."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def free_memory() -> None:
    """Return unused memory to the system: MLX's buffers, and on Linux the free pages of the heap."""
    import mlx.core as mx

    gc.collect()
    mx.clear_cache()
    trim_heap()


@contextmanager
def _keep_limits() -> Iterator[None]:
    """Keep RLIMIT_NOFILE: importing mlx_lm sets it to (2048, 4096), lowers a hard limit for good, fails below it."""
    setrlimit = resource.setrlimit
    resource.setrlimit = lambda *_: None
    try:
        yield
    finally:
        resource.setrlimit = setrlimit


def _allow_open_files() -> None:
    """Raise the soft limit of open files, for models of many files; macOS begins with 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
