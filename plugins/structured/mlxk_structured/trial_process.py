"""The process of a trial: checks the grammar on standard input, and writes what is wrong with it, if anything is."""

from __future__ import annotations

import pickle
import resource
import sys
import threading

from mlxk_core.api.errors import InvalidConstraint
from mlxk_structured.compiler import Compiler

SECONDS = 5
"""Of CPU, for one grammar."""
_MEMORY = 1 << 30
_STACK = 3 << 20
"""Less than a thread of the server has, which compiles the grammar afterwards: 8 MB, on macOS 16 MB."""
_DONE: list[bool] = []


def main() -> None:
    """Check one grammar within the limits; the process ends when it exceeds them."""
    _limit(resource.RLIMIT_CPU, SECONDS)
    _limit(resource.RLIMIT_AS, _MEMORY)
    threading.stack_size(_STACK)
    thread = threading.Thread(target=_check)
    thread.start()
    thread.join()
    if not _DONE:
        sys.exit(1)


def _check() -> None:
    try:
        Compiler().check(pickle.load(sys.stdin.buffer), is_trial=True)
    except InvalidConstraint as error:
        sys.stdout.buffer.write(pickle.dumps((error.option, error.reason, error.path)))
    _DONE.append(True)


def _limit(what: int, amount: int) -> None:
    try:
        resource.setrlimit(what, (amount, amount))
    except (OSError, ValueError):
        pass  # macOS limits no address space


if __name__ == "__main__":
    main()
