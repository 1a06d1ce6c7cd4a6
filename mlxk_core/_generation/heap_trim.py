"""When freed memory goes back to the system."""

from __future__ import annotations

from enum import Enum, auto

from mlxk_core._generation.memory import trim_heap

_IDLE_SECONDS = 5.0
_LONG_PROMPT = 8192  # tokens


class _Due(Enum):
    NEVER = auto()
    """Nothing was freed."""
    WHEN_IDLE = auto()
    """After some seconds without work."""
    AT_ONCE = auto()
    """As soon as nothing runs: much was freed."""


class HeapTrim:
    """Trims the heap while the engine thread waits for work: it takes milliseconds, in which no row is decoded."""

    def __init__(self) -> None:
        self._due = _Due.NEVER

    def after_unload(self) -> None:
        """Note that a model was unloaded."""
        self._due = _Due.AT_ONCE

    def after_job(self, prompt_tokens: int) -> None:
        """Note that a job with a prompt of that length is over."""
        if prompt_tokens >= _LONG_PROMPT:
            self._due = _Due.AT_ONCE
        elif self._due is _Due.NEVER:
            self._due = _Due.WHEN_IDLE

    def before_wait(self, timeout: float | None) -> float | None:
        """Trim if it is due, and return how long to wait for work, at most `timeout` seconds (None: without limit)."""
        if self._due is _Due.AT_ONCE:
            trim_heap()
            self._due = _Due.NEVER
        if self._due is _Due.WHEN_IDLE and (timeout is None or timeout > _IDLE_SECONDS):
            self._due = _Due.AT_ONCE  # unless work comes first, the next wait trims
            return _IDLE_SECONDS
        return timeout
