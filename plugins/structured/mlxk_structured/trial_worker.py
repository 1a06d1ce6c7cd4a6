"""The process of trials: checks the grammars that arrive on standard input, with limits for each."""

from __future__ import annotations

import base64
import math
import pickle
import resource
import sys
import threading
import time
from pathlib import Path

from mlxk_core.api.backends import trim_heap
from mlxk_core.api.errors import InvalidConstraint
from mlxk_core.api.generation import Part
from mlxk_core.api.processes import announce, encode_message, read_message
from mlxk_structured.checks import check_here, check_steps
from mlxk_structured.verdicts import Fault, Verdict

SECONDS = 5
"""Of CPU, for one grammar."""
_MEMORY = 1 << 30
_STACK = 3 << 20
"""Less than a thread of the server has, which compiles the grammar afterwards: 8 MB, on macOS 16 MB."""
_UNKNOWN = 32 << 20
"""What a compiled grammar counts for, in bytes, where its memory cannot be measured."""


def main() -> None:
    """Answer one grammar after another; the process ends when one exceeds the limits."""
    _limit(resource.RLIMIT_AS, _MEMORY)
    threading.stack_size(_STACK)
    announce(sys.stdout.buffer)
    while (request := read_message(sys.stdin.buffer)) is not None:
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + SECONDS)
        response = {}
        if "grammar" in request:
            trial = _Trial(pickle.loads(base64.b64decode(request["grammar"])))
            trial.start()
            trial.join()
            if trial.verdict is None:
                sys.exit(1)
            fault = trial.verdict.fault
            response = {
                "fault": None if fault is None else (fault.kind, fault.reason, fault.path),
                "memory": trial.verdict.memory,
                "seconds": trial.verdict.seconds,
            }
            del trial
        sys.stdout.buffer.write(encode_message(response))
        sys.stdout.buffer.flush()


class _Trial(threading.Thread):
    """The check of one grammar, on a thread with a small stack."""

    def __init__(self, grammar: Part) -> None:
        super().__init__()
        self._grammar = grammar
        self.verdict: Verdict | None = None

    def run(self) -> None:
        before, begun = _resident_memory(), time.thread_time()
        try:
            compiled = check_here(self._grammar)
            seconds = time.thread_time() - begun
            check_steps(compiled)
        except InvalidConstraint as error:
            self.verdict = Verdict(Fault.of(error))
            return
        after = _resident_memory()
        del compiled  # not before it is measured
        memory = _UNKNOWN if before is None or after is None else max(0, after - before)
        self.verdict = Verdict(memory=memory, seconds=seconds)


def _resident_memory() -> int | None:
    """Return the memory of this process in bytes, None where the system does not say it cheaply."""
    trim_heap()
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None


def _limit(what: int, amount: int) -> None:
    """Set a soft limit, which the next trial may raise again."""
    try:
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (amount if hard == resource.RLIM_INFINITY else min(amount, hard), hard))
    except (OSError, ValueError):
        pass  # macOS limits no address space


if __name__ == "__main__":
    main()
