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
_LONGEST_LOCK = 0.8
"""Seconds of CPU time in which no other thread gets the interpreter: a server cannot answer then."""
_TICK = 0.02


class _Evaluated(Exception):
    """The network asked for the value of an array, which only its weights have."""


def try_network(model: Model) -> dict[str, Any]:
    """Return the response for `model`."""
    runtime.start()
    before = peak_memory()
    _limit_memory()
    costs = None
    with _LockWatch() as watch:
        try:
            with limited_time(_CPU_SECONDS), _no_evaluation(), translated_errors(model), observe(lambda: None):
                network, _ = read_network(model)
            with limited_time(_TRACE_SECONDS), _no_evaluation("item", "tolist", "__bool__"):
                costs = _traced(network)
        except (MemoryError, InsufficientMemory):
            return _exceeded("memory", f"it takes more than {_MEMORY >> 20} MiB besides its weights")
        except SystemLimit as error:
            return _exceeded("system", str(error))
        except (Exception, SystemExit):
            pass  # the server gets the same error, within the same limits
    if costs is not None and not costs.measured[0][1].within(step_limit()):
        return _exceeded("step", "a step of one token takes too long or too much memory")
    if watch.longest > _LONGEST_LOCK:
        return _exceeded("lock", "nothing else could run while it was built")
    if peak_memory() - before > _MEMORY:
        return _exceeded("memory", f"it takes more than {_MEMORY >> 20} MiB besides its weights")
    return {"limit": None, "message": "", "costs": None if costs is None else costs.as_json()}


def _traced(network: Any) -> StepCosts:
    from mlxk_mlx.loading.step_trace import trace_steps  # imports MLX, which must be started before

    return trace_steps(network, step_limit())


@contextmanager
def _no_evaluation(*methods: str) -> Iterator[None]:
    """Raise `_Evaluated` where arrays are evaluated, which may take the whole model, or for these `methods` of one.

    While a network is built it may ask for single values of its weights.
    """
    import mlx.core as mx

    def refuse(*_: Any, **__: Any) -> Any:
        raise _Evaluated

    places = [(mx, "eval"), (mx, "async_eval"), *((mx.array, name) for name in methods)]
    originals = [(owner, name, getattr(owner, name)) for owner, name in places]
    for owner, name in places:
        setattr(owner, name, refuse)
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


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


def _limit_memory() -> None:
    """Let this process have `_MEMORY` bytes more. macOS does not enforce it; there the time limit is the only one."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        used = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (used + _MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    except (OSError, ValueError, StopIteration):
        pass  # a lower limit holds already, or the system has none of this kind


def _exceeded(limit: str, message: str) -> dict[str, Any]:
    return {"limit": limit, "message": message}


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
