"""A limit on the time that one response may take to be read: what a model writes can make any parser slow."""

from __future__ import annotations

import importlib.util
import time
from functools import cache
from types import ModuleType
from typing import Any

_SECONDS = 0.5
"""CPU time for one response: tens of megabytes of ordinary calls."""
_FREE_SECONDS = 0.001
"""What ordinary steps of a parser take, of which a long response has many: they are not counted."""
_REGEX_SECONDS = 0.25
"""CPU time of the process for one search."""


class ResponseTimeLimit:
    """The CPU time that is left for reading one response. Use it as a context around each step."""

    def __init__(self) -> None:
        self._left = _SECONDS
        self._began = 0.0

    @property
    def exceeded(self) -> bool:
        return self._left <= 0

    def exhaust(self) -> None:
        """Leave no time: a search took all that one may take."""
        self._left = 0.0

    def __enter__(self) -> None:
        self._began = time.thread_time()

    def __exit__(self, *error: object) -> None:
        self._left -= max(0.0, time.thread_time() - self._began - _FREE_SECONDS)


class LimitedPattern:
    """A compiled pattern of `regex` that raises `TimeoutError` where it backtracks without end.

    It searches without the interpreter's lock, which is what a long search would otherwise deny to the whole server.
    With a `limit`, its time counts for that as well.
    """

    def __init__(self, pattern: Any, limit: ResponseTimeLimit | None = None) -> None:
        self._pattern = pattern
        self._limit = limit

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

    def _run(self, method: Any, args: Any, options: Any) -> Any:
        options = {**options, "timeout": _REGEX_SECONDS, "concurrent": True}
        if self._limit is None:
            return method(*args, **options)
        if self._limit.exceeded:
            raise TimeoutError("the response took too long to read")
        with self._limit:
            return method(*args, **options)


@cache
def limited_module(name: str) -> ModuleType:
    """Return a copy of module `name` whose patterns are limited. Raises `ImportError` if there is no such module."""
    import regex

    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module named {name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for key, value in list(vars(module).items()):
        if isinstance(value, regex.Pattern):
            setattr(module, key, LimitedPattern(value))
    return module
