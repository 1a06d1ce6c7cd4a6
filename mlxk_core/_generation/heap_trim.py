"""When freed memory goes back to the system."""

from __future__ import annotations

import gc
import time

from mlxk_core._generation.machine_memory import trim_heap

_IDLE_SECONDS = 5.0
_LONGEST_SECONDS = 60.0
"""After these it is trimmed in any pause, however short: with a request every few seconds there is no longer one."""
_LONG_PROMPT = 8192  # tokens


class HeapTrim:
    """Trims the heap while the engine thread waits for work: it takes milliseconds, in which no row is decoded."""

    def __init__(self) -> None:
        self._due: float | None = None  # monotonic seconds; None: nothing was freed
        self._first = 0.0  # when the first of the jobs was over since the last time

    def after_unload(self) -> None:
        """Note that a model was unloaded."""
        self._due = 0.0

    def after_job(self, prompt_tokens: int) -> None:
        """Note that a job with a prompt of that length is over: a long one frees much, others can wait for a pause."""
        if prompt_tokens >= _LONG_PROMPT:
            self._due = 0.0
        elif self._due != 0.0:
            now = time.monotonic()
            if self._due is None:
                self._first = now
            self._due = min(now + _IDLE_SECONDS, self._first + _LONGEST_SECONDS)

    def before_wait(self, timeout: float | None) -> float | None:
        """Trim if it is due, and return how long to wait for work, at most `timeout` seconds (None: without limit)."""
        if self._due is None:
            return timeout
        left = self._due - time.monotonic()
        if left > 0:
            return left if timeout is None else min(timeout, left)
        self.trim()
        return timeout

    def trim(self) -> None:
        """Trim now."""
        gc.collect()  # what is left in cycles, also texts of megabytes: an idle process makes no full collection
        trim_heap()
        self._due = None
