"""A trial process: checks the grammars that arrive on standard input, one after another, within limits for each."""

from __future__ import annotations

import math
import pickle
import resource
import select
import sys
import threading
import time

from mlxk_core.api.errors import InvalidConstraint
from mlxk_structured.compiler import Compiler
from mlxk_structured.trial_messages import Outcome, read_message, write_message

SECONDS = 5
"""Of CPU, for one grammar."""
_MEMORY = 1 << 30
_STACK = 3 << 20
"""Less than a thread of the server has, which compiles the grammar afterwards: 8 MB, on macOS 16 MB."""
_IDLE_SECONDS = 60.0
_HEAVY_SECONDS = 0.5
"""Of CPU. What took longer may have left the process with little of its memory."""
_MOST_TRIALS = 500


def main() -> None:
    """Answer each grammar with its `Outcome`; the process ends when one exceeds the limits."""
    _limit(resource.RLIMIT_AS, _MEMORY)
    threading.stack_size(_STACK)
    for trials in range(1, _MOST_TRIALS + 1):
        if not select.select([sys.stdin.buffer], [], [], _IDLE_SECONDS)[0]:
            return
        message = read_message(sys.stdin.buffer)
        if not message:
            return
        began = time.process_time()
        _limit(resource.RLIMIT_CPU, math.ceil(began) + SECONDS)
        trial = _Trial(message)
        trial.start()
        trial.join()
        if not trial.done:
            sys.exit(1)
        is_last = time.process_time() - began > _HEAVY_SECONDS or trials == _MOST_TRIALS
        write_message(sys.stdout.buffer, pickle.dumps(tuple(Outcome(trial.error, is_last))))
        if is_last:
            return


class _Trial(threading.Thread):
    """The check of one grammar, on a thread with a small stack."""

    def __init__(self, message: bytes) -> None:
        super().__init__()
        self._message = message
        self.done = False
        self.error: tuple[str, str, str | None] | None = None

    def run(self) -> None:
        try:
            Compiler().check(pickle.loads(self._message), is_trial=True)
        except InvalidConstraint as error:
            self.error = (error.option, error.reason, error.path)
        self.done = True


def _limit(what: int, amount: int) -> None:
    """Set a soft limit, which the next trial may raise again."""
    try:
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (amount if hard == resource.RLIM_INFINITY else min(amount, hard), hard))
    except (OSError, ValueError):
        pass  # macOS limits no address space


if __name__ == "__main__":
    main()
