"""The process of trials: checks the grammars that arrive on standard input, with limits for each."""

from __future__ import annotations

import base64
import math
import pickle
import resource
import sys
import threading
import time

from mlxk_core.api.errors import InvalidConstraint
from mlxk_core.api.generation import Part
from mlxk_core.api.processes import announce, encode_message, read_message
from mlxk_structured.compiler import Compiler

SECONDS = 5
"""Of CPU, for one grammar."""
_MEMORY = 1 << 30
_STACK = 3 << 20
"""Less than a thread of the server has, which compiles the grammar afterwards: 8 MB, on macOS 16 MB."""


def main() -> None:
    """Answer one grammar after another; the process ends when one exceeds the limits."""
    _limit(resource.RLIMIT_AS, _MEMORY)
    threading.stack_size(_STACK)
    announce(sys.stdout.buffer)
    while (request := read_message(sys.stdin.buffer)) is not None:
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + SECONDS)
        trial = _Trial(pickle.loads(base64.b64decode(request["grammar"])))
        trial.start()
        trial.join()
        if not trial.done:
            sys.exit(1)
        sys.stdout.buffer.write(encode_message({"error": trial.error}))
        sys.stdout.buffer.flush()


class _Trial(threading.Thread):
    """The check of one grammar, on a thread with a small stack."""

    def __init__(self, grammar: Part) -> None:
        super().__init__()
        self._grammar = grammar
        self.done = False
        self.error: tuple[str, str, str | None] | None = None

    def run(self) -> None:
        try:
            Compiler().check(self._grammar, is_trial=True)
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
