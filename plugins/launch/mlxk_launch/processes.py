"""The processes that `mlxk launch` starts, and ends."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

END_SECONDS = 15.0
"""What a process has to end by itself."""
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a process for the block, with the options of `subprocess.Popen`.

    At the end it is terminated, and killed if it does not end in `END_SECONDS`. Raises `OSError` if it cannot start.
    """
    # What a signal raises inside of Popen would leave a process that does not end.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    restore = partial(signal.pthread_sigmask, signal.SIG_SETMASK, before)
    try:
        process = subprocess.Popen(command, preexec_fn=restore, **options)
    except BaseException:
        restore()
        raise
    try:
        restore()
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
