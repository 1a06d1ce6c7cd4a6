"""Which texts are not given to a tokenizer for a while, after one has exceeded a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mlxk_core.api.errors import MlxkError

_REST_SECONDS = 60.0
_SHARE = 2
"""Texts are refused that have at least this share of the characters of the one that failed: shorter ones are of other
clients, most likely, and those in between would fail one after the other."""


class RefusedTexts:
    """Texts at work, and from which length on others fail at once. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lengths: list[int] = []
        self._failure: MlxkError | None = None
        self._from = 0
        self._until = 0.0

    @contextmanager
    def at_work(self, length: int) -> Iterator[None]:
        """Note that a text of `length` characters is worked on. Raises the error of the text that failed if one of this
        length is refused."""
        with self._lock:
            if self._failure is not None and self._refuses and length >= self._from:
                raise self._failure.with_traceback(None)
            self._lengths.append(length)
        try:
            yield
        finally:
            with self._lock:
                self._lengths.remove(length)

    def add(self, failure: MlxkError) -> None:
        """Refuse texts like the longest one at work, which failed or made another fail; all texts if there is none."""
        with self._lock:
            length = max(self._lengths, default=0) // _SHARE
            self._from = min(length, self._from) if self._refuses else length
            self._failure, self._until = failure, time.monotonic() + _REST_SECONDS

    def add_all(self, failure: MlxkError) -> None:
        """Refuse all texts."""
        with self._lock:
            self._from, self._failure, self._until = 0, failure, time.monotonic() + _REST_SECONDS

    @property
    def _refuses(self) -> bool:
        return time.monotonic() < self._until
