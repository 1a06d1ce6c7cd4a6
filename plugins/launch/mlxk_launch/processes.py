"""The end of the processes that `mlxk launch` starts."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import Any

END_SECONDS = 15.0
"""What a process has to end by itself."""


@contextlib.contextmanager
def end_afterwards(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Terminate `process` at the end if it still runs, and kill it if it does not end in `END_SECONDS`."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
