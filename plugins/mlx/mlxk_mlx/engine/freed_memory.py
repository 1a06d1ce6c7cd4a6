"""Memory that tokenizing has freed and the C library keeps, a share for each thread."""

from __future__ import annotations

import threading

from mlxk_core.api.backends import trim_heap

_SHORT = 1 << 14
"""Characters of a text that is not counted."""
_MOST = 1 << 18
"""Characters, each of which takes 150 bytes. Trimming takes up to 50 ms where the heap is in many pieces; to tokenize
so many characters takes 100 ms."""


class FreedMemory:
    """Gives the memory that texts have taken back to the system. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._characters = 0

    def add(self, characters: int) -> None:
        """Note that a text of so many characters was tokenized. Trim the heap once they are many."""
        if characters <= _SHORT:
            return
        with self._lock:
            self._characters += characters
            if self._characters < _MOST:
                return
            self._characters = 0
        trim_heap()
