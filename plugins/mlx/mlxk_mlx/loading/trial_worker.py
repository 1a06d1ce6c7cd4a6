"""Child process that builds the network of a model and the graphs of its steps, within limits, and computes nothing.

The request is `{"model": str}`, a pickled `Model`; the response `{"limit": str | None, "message": str, "costs": …}`,
where the limit that was exceeded is `memory`, `lock` or `step`, or `system` if the system has too little, and the costs
are those of steps, as `StepCosts.as_json`, or None where they cannot be measured. The process ends when its standard
input does, and by SIGPROF when its time is up.
"""

from __future__ import annotations

import base64
import os
import pickle
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlxk_core.api.errors import InsufficientMemory, SystemLimit
from mlxk_core.api.models import Model
from mlxk_core.api.processes import announce, encode_message, read_message
from mlxk_mlx.engine.child_limits import limited_time, peak_memory
from mlxk_mlx.engine.step_costs import StepCosts, step_limit
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.heartbeat import observe
from mlxk_mlx.loading.load import read_network, translated_errors

_CPU_SECONDS = 60.0
"""The largest published networks take five, and twice as long on a busy machine."""
_MEMORY = 512 << 20
"""Bytes besides what is there before. 140,000 tensors, without their numbers, take 100 MB."""
_TRACE_SECONDS = 60.0
"""Of CPU time, for the graphs of steps."""
_TRACE_MEMORY = 1 << 30
"""Bytes for these graphs: several kB for each operation."""
_LONGEST_LOCK = 0.8
"""Seconds of CPU time in which no other thread gets the interpreter: a server cannot answer then."""
_TICK = 0.02


class _Exceeded(Exception):
    """A limit was exceeded."""

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(message)
        self.limit = limit


def try_network(model: Model) -> dict[str, Any]:
    """Return the response for `model`."""
    runtime.start()
    from mlxk_mlx.loading.unknown_values import ValueNeeded  # imports MLX, which must be started before

    try:
        network = _build(model)
        costs = None if network is None else _costs(network)
    except _Exceeded as error:
        return {"limit": error.limit, "message": str(error)}
    except SystemLimit as error:
        return {"limit": "system", "message": str(error)}
    except ValueNeeded:
        return {"limit": "step", "message": "what it does depends on the values of arrays"}
    return {"limit": None, "message": "", "costs": None if costs is None else costs.as_json()}


def _build(model: Model) -> Any:
    """Return the network of `model`, None if building it raises an error: the server gets the same, within the same
    limits. Raises `_Exceeded`, `SystemLimit` and `ValueNeeded`."""
    from mlxk_mlx.loading.unknown_values import no_evaluation

    network = None
    with _limited_memory(_MEMORY), _LockWatch() as watch:
        try:
            with limited_time(_CPU_SECONDS), no_evaluation(), translated_errors(model), observe(lambda: None):
                network, _ = read_network(model)
        except (MemoryError, InsufficientMemory, SystemLimit):
            raise
        except (Exception, SystemExit):
            pass
    if watch.longest > _LONGEST_LOCK:
        raise _Exceeded("lock", "nothing else could run while it was built")
    return network


def _costs(network: Any) -> StepCosts | None:
    """Return what steps cost, None if a step raises an error, which the server gets as well.

    Raises `_Exceeded`, `SystemLimit` and `ValueNeeded`.
    """
    from mlxk_mlx.loading.step_count import count_steps
    from mlxk_mlx.loading.step_trace import trace_steps
    from mlxk_mlx.loading.unknown_values import made_up_indices

    limit = step_limit()
    with _limited_memory(_TRACE_MEMORY), limited_time(_TRACE_SECONDS), made_up_indices():
        try:
            costs = trace_steps(network, limit)
        except (MemoryError, InsufficientMemory, SystemLimit):
            raise
        except Exception:
            try:
                costs = count_steps(network, limit)  # MLX may have an operation that it does not export
            except (MemoryError, InsufficientMemory, SystemLimit):
                raise
            except Exception:
                return None
    if not costs.measured[0][1].within(limit):
        raise _Exceeded("step", "a step of one token takes too long or too much memory")
    return costs


@contextmanager
def _limited_memory(size: int) -> Iterator[None]:
    """Let this process have `size` bytes more in the block. Raises `_Exceeded`. macOS does not enforce it before the
    end of the block; there the time limit is the only one."""
    message = f"it takes more than {size >> 20} MiB besides its weights"
    before = peak_memory()
    _limit_data(size)
    try:
        yield
    except (MemoryError, InsufficientMemory):
        raise _Exceeded("memory", message) from None
    if peak_memory() - before > size:
        raise _Exceeded("memory", message)


class _LockWatch:
    """A thread that wants the interpreter now and then, and notes the CPU time of this process meanwhile."""

    def __init__(self) -> None:
        self.longest = 0.0
        """Seconds."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _LockWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        over = False
        last = time.process_time()
        while not over:
            over = self._over.wait(_TICK)
            now = time.process_time()
            self.longest = max(self.longest, now - last)
            last = now


def _limit_data(size: int) -> None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        used = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (used + size, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    except (OSError, ValueError, StopIteration):
        pass  # a lower limit holds already, or the system has none of this kind


def _respond(request: Mapping[str, Any]) -> dict[str, Any]:
    return try_network(pickle.loads(base64.b64decode(request["model"])))  # pickled by our own parent


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    responses = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing but responses may be written there
    runtime.start()
    announce(responses)
    if (request := read_message(sys.stdin.buffer)) is not None:
        responses.write(encode_message(_respond(request)))
        responses.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
