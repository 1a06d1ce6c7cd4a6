"""A limit on the time that one response may take to be read: what a model writes can make any parser slow."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

_SECONDS = 0.5
"""CPU time for one response, whatever its length."""
_SECONDS_PER_CHARACTER = 2e-6
"""CPU time for each character: a call of 80 characters takes less than half of what they allow."""
_REGEX_SECONDS = 0.25
"""CPU time for one search."""
_SLOW_SECONDS = 0.001
"""Searches that took less do not look how much time is left."""


class ResponseTimeLimit:
    """The CPU time that is left for reading one response. Use it as a context around each step.

    It grows with the response, by `seconds` a character, so that the work stays linear however a parser is made.
    """

    def __init__(self, seconds: float = _SECONDS_PER_CHARACTER) -> None:
        self._left = _SECONDS
        self._began = 0.0
        self._seconds = seconds
        self._outer: ResponseTimeLimit | None = None

    @property
    def exceeded(self) -> bool:
        return self._left <= 0

    def exhaust(self) -> None:
        """Leave no time: a search took all that one may take."""
        self._left = -math.inf

    def add(self, characters: int) -> None:
        """Note that the response has grown; one that took too long stays so."""
        if self._left > 0:
            self._left += characters * self._seconds

    def check(self) -> None:
        """Raise `TimeoutError` if this step takes longer than the response may take."""
        if time.thread_time() - self._began > self._left:
            raise TimeoutError("the response takes too long to read")

    def __enter__(self) -> None:
        self._outer = _steps.limit
        _steps.limit = self
        self._began = time.thread_time()

    def __exit__(self, *error: object) -> None:
        self._left -= max(0.0, time.thread_time() - self._began)
        _steps.limit = self._outer


class _Steps(threading.local):
    limit: ResponseTimeLimit | None = None
    """The limit of the step that this thread is in."""


_steps = _Steps()


def check_time() -> None:
    """Raise `TimeoutError` if this thread is in a step that takes longer than its response may take."""
    if _steps.limit is not None:
        _steps.limit.check()


class LimitedPattern:
    """A compiled pattern of `regex` that raises `TimeoutError` where it backtracks without end.

    It searches without the interpreter's lock, which is what a long search would otherwise deny to the whole server.
    Within a step of a `ResponseTimeLimit` it also raises where the step has taken too long.
    """

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pattern, name)

    def search(self, *args: Any, **options: Any) -> Any:
        return self._run(self._pattern.search, args, options)

    def match(self, *args: Any, **options: Any) -> Any:
        return self._run(self._pattern.match, args, options)

    def fullmatch(self, *args: Any, **options: Any) -> Any:
        return self._run(self._pattern.fullmatch, args, options)

    def findall(self, *args: Any, **options: Any) -> Any:
        return self._run(self._pattern.findall, args, options)

    def finditer(self, *args: Any, **options: Any) -> Any:
        return iter(self._run(lambda *a, **k: list(self._pattern.finditer(*a, **k)), args, options))

    def sub(self, *args: Any, **options: Any) -> Any:
        return self._run(self._pattern.sub, args, options)

    def _run(self, method: Any, args: Any, options: Any) -> Any:
        limit = _steps.limit
        if limit is not None and limit.exceeded:
            raise TimeoutError("the response took too long to read")
        began = time.monotonic()
        try:
            found = method(*args, **options, timeout=_REGEX_SECONDS, concurrent=True)
        except TimeoutError:
            found = _search_again(method, args, options)
        if limit is not None and time.monotonic() - began > _SLOW_SECONDS:  # the clock of the thread is slow to read
            limit.check()
        return found


def _search_again(method: Any, args: Any, options: Any) -> Any:
    """Repeat a search that did not end in time: `regex` counts the CPU time of all threads of the process, and this one
    may have had little of it."""
    began, seconds = time.thread_time(), _REGEX_SECONDS
    while True:
        seconds *= 2
        try:
            return method(*args, **options, timeout=seconds, concurrent=True)
        except TimeoutError:
            if time.thread_time() - began >= _REGEX_SECONDS:
                raise
